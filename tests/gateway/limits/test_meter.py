"""The script in a real state server, against the rates that it has to be; and many processes at once."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.limits.meter import Meter, Refund
from policies.rates import Book, Charge, Span

NOON = 1_764_000_000_000
KEYS = ("gw:{limits:t}:key:k:requests", "gw:{limits:t}:person:p:tokens")
PLACES = "gw:{limits:t}:person:p:streams"

TAKEN = st.tuples(st.just("take"), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["", *"abcd"]))
GIVEN = st.tuples(st.just("give"), st.integers(-9, 9), st.integers(0, 70_000), st.sampled_from(["", *"abcd"]))
RENEWED = st.tuples(st.just("renew"), st.just(0), st.just(0), st.sampled_from("abcd"))
PAUSES = st.sampled_from([0, 1, 500, 999, 1_000, 5_000, 29_999, 30_000, 59_999, 60_000, 61_000, -700])
STORIES = st.lists(st.tuples(st.one_of(TAKEN, TAKEN, GIVEN, RENEWED), PAUSES), max_size=30)


async def story(meter: Meter, steps: list[tuple[tuple[str, int, int, str], int]]) -> None:
    """Live a story in both, and compare each answer."""
    book, now, names = Book(), NOON, 0
    for (what, one, other, place), pause in steps:
        now += pause
        if what == "take":
            names += 1
            charges = [Charge(KEYS[0], 9, 1), Charge(KEYS[1], 20, max(one, other))]
            charges += [Charge(PLACES, 2, 1, f"{place}{names}")] if place else []
            assert book.take(charges, now) == await meter.take(charges, now)
        elif what == "give":
            refund = Refund(PLACES, place=f"{place}{names}") if place else Refund(KEYS[1], one, now - other)
            meter.give([refund], now)
            if place:
                book.leave(PLACES, refund.place)
            else:
                book.give(KEYS[1], one, refund.at, now)
        else:
            meter.renew([(PLACES, f"{place}{names}")], now)
            book.renew(PLACES, f"{place}{names}", now)
    probe = [Charge(key, 10**6, 1) for key in KEYS] + [Charge(PLACES, 10**6, 1, "probe")]
    assert book.take(probe, now) == await meter.take(probe, now)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STORIES)
def test_the_script_is_the_rates(valkey: Path, steps: list[tuple[tuple[str, int, int, str], int]]) -> None:
    """Any story of takings, refunds and places is the same in both, step by step."""

    async def run() -> None:
        client: Redis = Redis.from_url(f"unix://{valkey}")
        await client.flushall()
        meter = Meter(client)
        await story(meter, steps)
        await meter.close()
        await client.aclose()

    asyncio.run(run())


async def test_a_new_server_learns_the_script(redis: "Redis") -> None:
    """It is asked again, and nothing is counted twice."""
    meter, charge = Meter(redis), Charge(KEYS[0], 5)
    await meter.take([charge])
    await redis.script_flush()
    grants = await asyncio.gather(*(meter.take([charge]) for _ in range(3)))
    assert [(2,), (3,), (4,)] == [grant.used for grant in grants]
    await meter.close()


async def test_nothing_of_it_is_written_to_the_disk(redis: "Redis", valkey: Path) -> None:
    """No turn waits for a disk because of a count that is worth nothing in a minute; and all of it expires."""
    meter = Meter(redis)
    files = list((valkey.parent / "appendonlydir").iterdir())
    before = sum(file.stat().st_size for file in files)
    await meter.take([Charge(KEYS[0], 5), Charge(PLACES, 5, 1, "a")])
    meter.give([Refund(KEYS[1], -5, NOON)])
    await meter.take([Charge(KEYS[0], 5)])
    assert before == sum(file.stat().st_size for file in files)
    assert all([0 < await redis.pttl(key) <= 61_000 for key in (*KEYS, PLACES)])
    await meter.close()


async def test_redis_away_is_told_at_once() -> None:
    """And refunds get lost without a word."""
    client: Redis = Redis.from_url("unix:///nonexistent/socket")
    meter = Meter(client)
    meter.give([Refund(KEYS[0], 1, NOON)])
    with pytest.raises((RedisError, OSError)):
        await meter.take([Charge(KEYS[0], 5)])
    await meter.close()
    await client.aclose()


async def test_a_server_that_hangs_is_away(redis: "Redis") -> None:
    """After a quarter of a second, for all who wait; then it is asked again."""
    meter, charge = Meter(redis), Charge(KEYS[0], 50)
    await meter.take([charge])
    pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = await asyncio.gather(*(meter.take([charge]) for _ in range(3)), return_exceptions=True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert all(isinstance(one, RedisError | OSError) for one in found)
    assert (await meter.take([charge])).used[0] >= 2
    await meter.close()


async def test_who_leaves_while_it_is_counted_keeps_nothing(redis: "Redis") -> None:
    """What was taken for them is given back as soon as it is known."""
    meter = Meter(redis)
    charges = [Charge(KEYS[1], 100, 60), Charge(PLACES, 1, 1, "gone")]
    task = asyncio.create_task(meter.take(charges))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await meter.take([Charge(KEYS[0], 5)])
    grant = await meter.take([Charge(KEYS[1], 100, 60), Charge(PLACES, 1, 1, "next")])
    assert (-1, (60, 1)) == (grant.refused, grant.used)
    await meter.close()


TAKE = """
import asyncio, json, sys, time
from redis.asyncio import Redis
from gateway.limits.meter import Meter
from policies.rates import Charge, Span

async def run(socket, seconds):
    client = Redis.from_url(f"unix://{socket}")
    meter, taken, end = Meter(client, Span(2_000, 100, 2_000)), [], time.monotonic() + seconds

    async def caller():
        while time.monotonic() < end:
            began = time.monotonic()
            grant = await meter.take([Charge("gw:{limits:t}:key:k:requests", 200)])
            if grant.refused < 0:
                taken.append((began, time.monotonic(), grant.at))
            else:
                await asyncio.sleep(min(grant.wait, 20) / 1000)

    await asyncio.gather(*(caller() for _ in range(8)))
    await meter.close()
    await client.aclose()
    print(json.dumps(taken))

asyncio.run(run(sys.argv[1], float(sys.argv[2])))
"""
"""Eight callers that take as much as they get, of 200 in two seconds; prints when each was asked for and granted."""


async def test_many_processes_get_the_limit_and_no_more(valkey: Path, redis: "Redis") -> None:
    """8 processes of 8 callers: exactly the limit within a window, and all of it is had."""
    del redis  # empties it
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", TAKE, str(valkey), "5", stdout=asyncio.subprocess.PIPE
        )
        for _ in range(8)
    ]
    taken = sorted(
        moment for out, _ in [await worker.communicate() for worker in workers] for moment in json.loads(out)
    )
    for began, _, at in taken:
        within = [one for one in taken if one[0] >= began and one[1] <= began + 2.0]
        assert len(within) <= 200
        assert sum(at <= one[2] < at + 2_000 for one in taken) <= 200
    first, last = min(one[2] for one in taken), max(one[2] for one in taken)
    assert sum(one[2] < first + 2_000 for one in taken) == 200, "all of the first window is had"
    assert len(taken) >= 200 * ((last - first) // 2_100), "and of each one after it, a step later"


HOLD = """
import asyncio, sys
from redis.asyncio import Redis
from gateway.limits.meter import Meter
from policies.rates import Charge, Span

async def run(socket):
    meter = Meter(Redis.from_url(f"unix://{socket}"), Span(place=500))
    charges = [Charge("gw:{limits:t}:person:p:streams", 3, 1, f"s{i}") for i in range(3)]
    print([(await meter.take([one])).refused for one in charges], flush=True)
    while True:
        await asyncio.sleep(0.1)
        meter.renew([(one.key, one.place) for one in charges])

asyncio.run(run(sys.argv[1]))
"""


async def test_streams_of_a_killed_worker_come_free(valkey: Path, redis: "Redis") -> None:
    """While it lives its places are kept; killed, they are free after their time."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(valkey), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert b"[-1, -1, -1]\n" == await holder.stdout.readline()
    meter = Meter(redis, Span(place=500))
    await asyncio.sleep(1.2)
    assert (await meter.take([Charge(PLACES, 3, 1, "mine")])).refused == 0
    holder.kill()
    await holder.wait()
    async with asyncio.timeout(30):
        while (await meter.take([Charge(PLACES, 3, 1, "mine")])).refused == 0:
            await asyncio.sleep(0.05)
    await meter.close()
