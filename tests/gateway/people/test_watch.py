"""What a worker knows of people of note, from a real state server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.people.ledger import NOTABLE, SEQUENCE, Ledger
from gateway.people.watch import Watch
from gateway.tasks import ended
from policies.strikes import Rule
from tests.gateway.conftest import eventually


@pytest.fixture
async def ledger(redis: "Redis") -> Ledger:
    found = Ledger(redis, Rule())
    await found.open("e1")
    return found


@pytest.fixture
async def watch(ledger: Ledger) -> AsyncIterator[Watch]:
    """A watch that follows."""
    found = Watch(ledger)
    task = asyncio.create_task(found.run())
    await eventually(lambda: found.fresh)
    yield found
    await ended([task])


async def test_a_change_is_heard_at_once(watch: Watch, ledger: Ledger) -> None:
    """What one worker counts the others know, and forget again."""
    await ledger.count("p", "a", violation=True)
    await eventually(lambda: watch.known.get("p") is not None)
    await ledger.lift("p")
    await eventually(lambda: "p" not in watch.known)


async def test_what_was_before_is_read(ledger: Ledger) -> None:
    """A worker that starts knows who is suspended."""
    for words in "abc":
        await ledger.count("p", words, violation=True)
    watch = Watch(ledger)
    task = asyncio.create_task(watch.run())
    await eventually(lambda: watch.known.get("p") is not None and watch.known["p"].state.until > 0)
    await ended([task])


async def test_what_went_unheard_is_found_out(watch: Watch, redis: "Redis") -> None:
    """A change that nobody announced shows by its number."""
    await eventually(lambda: watch.fresh)
    await redis.hset(NOTABLE, "q", "1|1|1|0|0|1|0|1|7")
    await redis.set(SEQUENCE, 7)
    await eventually(lambda: "q" in watch.known)


async def test_a_state_server_that_begins_anew_is_followed(watch: Watch, ledger: Ledger, redis: "Redis") -> None:
    """After a loss and a rebuild what was known from before is not kept."""
    await ledger.count("p", "a", violation=True)
    await ledger.count("q", "a", violation=True)
    await eventually(lambda: {"p", "q"} <= set(watch.known))
    await asyncio.sleep(0.6)
    await redis.flushall()
    await ledger.open("e2")
    await ledger.count("q", "b", violation=True)
    await eventually(lambda: set(watch.known) == {"q"})


async def test_without_redis_what_is_known_stays() -> None:
    """Whoever is known to be suspended stays so; nobody waits long for the others."""
    away: Redis = Redis.from_url("unix:///nonexistent/socket")
    watch = Watch(Ledger(away, Rule()))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await watch.find("p") is None
    assert await watch.find("p") is None
    assert loop.time() - began < 0.6
    assert not watch.fresh
