"""A replica that is let go of, by workers that are real pools over a real Valkey."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from backends.endpoint import Endpoint
from backends.errors import NoReplica
from backends.load import Ask
from backends.pool import Pool, Waiting
from backends.upstream import Upstream
from gateway.state.drains import Drains, Letting
from gateway.tasks import running
from tests.backends.test_pool import endpoint

NAME = "d1"


class Worker:
    """What of a worker has to do with drains."""

    def __init__(self, redis: "Redis", index: int) -> None:
        self.pool = Pool(Upstream(), waiting=Waiting(8, 30.0))
        self.letting = Letting(redis, self.pool, "node", index)

    def take(self, *endpoints: Endpoint) -> None:
        self.pool.update(endpoints)
        self.letting.take(endpoints)


def draining(replica: str = "m#0", name: str = NAME, **fields: Any) -> Endpoint:
    return endpoint(replica, state="draining", drain=name, **fields)


@pytest.fixture
async def workers(redis: "Redis") -> AsyncIterator[list[Worker]]:
    made = [Worker(redis, index) for index in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        for one in made:
            await stack.enter_async_context(running(asyncio.create_task(one.letting.run())))
            one.take(endpoint())
        yield made
    for one in made:
        one.pool.upstream.close()


async def over(drains: Drains, name: str = NAME, seconds: float = 0.4) -> bool:
    """Return whether the drain has ended within *seconds*."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await drains.ended(name)
            return True
    return False


async def test_a_drain_ends_when_every_worker_has_let_go(redis: "Redis", workers: list[Worker]) -> None:
    """One that has not heard of it counts as one that still has something there."""
    drains = Drains(redis, "node", 2)
    workers[0].take(draining())
    assert not await over(drains)
    workers[1].take(draining())
    assert await over(drains, seconds=5)


async def test_a_running_request_is_waited_for(redis: "Redis", workers: list[Worker]) -> None:
    drains = Drains(redis, "node", 2)
    async with await workers[1].pool.lease("m"):
        for one in workers:
            one.take(draining())
        assert not await over(drains)
        with pytest.raises(NoReplica):
            await workers[1].pool.lease("m")
    assert await over(drains, seconds=5)


async def test_who_waits_already_is_served_by_the_last_replica(redis: "Redis", workers: list[Worker]) -> None:
    """It drains, nothing else is ready, and nobody is turned away who had come before."""
    worker = workers[0]
    worker.take(endpoint(slots=1))
    first = await worker.pool.lease("m", Ask(1, "a"))
    waiting = asyncio.create_task(worker.pool.lease("m", Ask(1, "b")))
    await asyncio.sleep(0)
    for one in workers:
        one.take(draining(slots=1))
    drains = Drains(redis, "node", 2)
    async with first:
        assert not await over(drains)
    async with await waiting as second:
        assert second.endpoint.replica == "m#0"
        assert not await over(drains)
    assert await over(drains, seconds=5)


async def test_nothing_comes_back_to_what_was_let_go(redis: "Redis", workers: list[Worker]) -> None:
    """Even where the others are lost meanwhile, and somebody waits: the engine may be ending already."""
    worker = workers[0]
    for one in workers:
        one.take(draining(), endpoint("m#1", slots=1))
    assert await over(Drains(redis, "node", 2), seconds=5)
    async with await worker.pool.lease("m"):
        waiting = asyncio.create_task(worker.pool.lease("m"))
        await asyncio.sleep(0)
        worker.take(draining(), endpoint("m#1", slots=1, state="starting"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert worker.pool.in_flight["m#0"] == 0
    waiting.cancel()


async def test_a_replica_drains_again(redis: "Redis", workers: list[Worker]) -> None:
    """What was said of a drain before is not taken for the next one."""
    drains = Drains(redis, "node", 2)
    for one in workers:
        one.take(draining())
    assert await over(drains, seconds=5)
    for one in workers:
        one.take(endpoint())
    async with await workers[0].pool.lease("m"):
        for one in workers:
            one.take(draining(name="d2"))
        assert not await over(drains, "d2")
    assert await over(drains, "d2", seconds=5)


async def test_a_lost_state_is_told_again(redis: "Redis", workers: list[Worker]) -> None:
    drains = Drains(redis, "node", 2)
    for one in workers:
        one.take(draining())
    assert await over(drains, seconds=5)
    await redis.flushall()
    assert await over(drains, seconds=5)
