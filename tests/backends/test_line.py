"""Replicas given to requests, in an event loop."""

import asyncio
import random
from collections import Counter

import pytest

from backends.admission import FairQueue
from backends.endpoint import Endpoint
from backends.errors import NoReplica, Overloaded
from backends.line import Hold, Line
from backends.load import Ask, Load, Priority

ASK = Ask(100, "p")


def replica(name: str, cap: int = 1) -> Load:
    endpoint = Endpoint(replica=name, model="m", engine="vllm", served_name="m", host="127.0.0.1", port=1)
    return Load(endpoint, cap)


def line(*ready: Load, most: int = 10, seconds: float = 30.0) -> Line:
    one = Line("m", FairQueue(most, seconds), asyncio.get_running_loop())
    one.ready = list(ready)
    return one


async def begun(*tasks: "asyncio.Task[Hold]") -> None:
    """Let *tasks* come to where they wait."""
    del tasks
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def counts(load: Load) -> tuple[int, int]:
    return load.requests, load.tokens


async def test_a_hold_is_counted_until_it_is_released() -> None:
    """Requests and tokens."""
    load = replica("a")
    one = line(load)
    hold = await one.enter(ASK)
    assert (1, 100) == counts(load)
    one.release(hold, ASK)
    assert (0, 0) == counts(load)


async def test_who_waits_is_served_when_a_place_is_free() -> None:
    """In the order of the queue; never more than the replica's cap."""
    load = replica("a", cap=2)
    one = line(load)
    holds = [await one.enter(ASK), await one.enter(ASK)]
    waiting = [asyncio.create_task(one.enter(Ask(1, name))) for name in "bc"]
    await begun(*waiting)
    one.release(holds.pop(), ASK)
    await begun()
    assert ([True, False], 2) == ([task.done() for task in waiting], load.requests)
    one.release(holds.pop(), ASK)
    assert [load, load] == [hold.load for hold in await asyncio.gather(*waiting)]
    assert (2, 2) == counts(load)


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    """Not even where there is room for it in the very moment."""
    load = replica("a")
    one = line(load)
    hold = await one.enter(ASK)
    first = asyncio.create_task(one.enter(ASK))
    await begun(first)
    one.release(hold, ASK)
    second = asyncio.create_task(one.enter(ASK))
    await begun(second)
    assert (True, False) == (first.done(), second.done())
    one.release(await first, ASK)
    await second


async def test_a_client_that_leaves_gives_its_place_back() -> None:
    """While it waits, in the very moment in which its turn comes, and after."""
    load = replica("a")
    one = line(load)
    hold = await one.enter(ASK)
    gone, late, last = (asyncio.create_task(one.enter(Ask(1, name))) for name in "abc")
    await begun()
    gone.cancel()
    one.release(hold, ASK)  # its turn would be now; its task does not know yet
    late.cancel()  # and this one has just been given the replica
    assert load is (await last).load
    assert (1, 1) == counts(load)
    assert 0 == len(one.queue)
    assert [True, True] == [task.cancelled() for task in (gone, late)]


async def test_waiting_ends_at_the_deadline() -> None:
    """With the word to come again; where no replica is left meanwhile, with that."""
    load = replica("a")
    one = line(load, seconds=0.05)
    await one.enter(ASK)
    with pytest.raises(Overloaded) as busy:
        await one.enter(ASK)
    assert 1 == busy.value.retry_after
    waiting = asyncio.create_task(one.enter(ASK))
    await begun(waiting)
    one.ready = []
    with pytest.raises(NoReplica):
        await waiting
    assert 0 == len(one.queue)


async def test_a_full_queue_turns_away_at_once() -> None:
    """And pushes out who has the most, where a newcomer has less."""
    one = line(replica("a"), most=2)
    await one.enter(ASK)
    burst = [asyncio.create_task(one.enter(ASK)) for _ in range(3)]
    await begun(*burst)
    assert burst[2].done() and isinstance(burst[2].exception(), Overloaded)
    other = asyncio.create_task(one.enter(Ask(1, "q")))
    await begun(other)
    assert isinstance(burst[1].exception(), Overloaded)
    for task in (burst[0], other):
        task.cancel()
    await asyncio.gather(burst[0], other, return_exceptions=True)


async def test_no_replica_is_said_at_once() -> None:
    """Nobody waits for a model that nobody serves; a model that goes sends its queue away."""
    load = replica("a")
    one = line(load)
    await one.enter(ASK)
    waiting = asyncio.create_task(one.enter(ASK))
    await begun(waiting)
    one.close()
    with pytest.raises(NoReplica):
        await waiting
    one.ready, one.states = [], "starting"
    with pytest.raises(NoReplica, match="starting"):
        await one.enter(ASK)


async def test_an_open_breaker_keeps_requests_away() -> None:
    """From that replica, while another one is sound; with all of them open each is tried."""
    a, b = replica("a", 9), replica("b", 9)
    one = line(a, b)
    a.breaker.failed(a.breaker.begin(), asyncio.get_running_loop().time(), dead=True)
    assert {"b"} == {(await one.enter(ASK)).load.endpoint.replica for _ in range(5)}
    b.breaker.failed(b.breaker.begin(), asyncio.get_running_loop().time(), dead=True)
    assert {"a", "b"} == {(await one.enter(ASK)).load.endpoint.replica for _ in range(8)}


async def test_half_open_one_request_tries() -> None:
    """The others go elsewhere until it has come back; its success brings all of them back."""
    a, b = replica("a", 9), replica("b", 9)
    one = line(a, b)
    a.breaker.failed(a.breaker.begin(), asyncio.get_running_loop().time() - 10, dead=True)
    holds = [await one.enter(ASK) for _ in range(4)]
    (probe,) = [hold for hold in holds if hold.load is a]
    a.breaker.succeeded(probe.number)
    assert a is (await one.enter(ASK)).load


async def test_instead_of_a_replica_that_failed() -> None:
    """Another one; where it is full, first of all who wait; where there is none, none."""
    a, b = replica("a"), replica("b")
    one = line(a, b)
    held = await one.enter(ASK)
    other = await one.enter(ASK)
    name = held.load.endpoint.replica
    patient = asyncio.create_task(one.enter(ASK))
    await begun(patient)
    again = asyncio.create_task(one.instead(ASK, [name]))  # type: ignore[arg-type]
    await begun(again)
    one.release(other, ASK)
    moved = await again
    assert moved is not None and moved.load is other.load and not patient.done()
    one.release(held, ASK)
    await patient
    assert await one.instead(ASK, ["a", "b"]) is None


async def test_instead_ends_where_the_others_go() -> None:
    """Who waits for another replica does not hold up those who would take the one that is left."""
    a, b = replica("a"), replica("b")
    one = line(a, b)
    holds = {hold.load.endpoint.replica: hold for hold in [await one.enter(ASK), await one.enter(ASK)]}
    again = asyncio.create_task(one.instead(ASK, ["a"]))  # type: ignore[arg-type]
    patient = asyncio.create_task(one.enter(ASK))
    await begun(again, patient)
    one.ready = [a]
    one.release(holds["a"], ASK)
    assert await again is None
    assert a is (await patient).load


async def test_nothing_is_lost_whatever_happens_in_whatever_order() -> None:
    """Requests that come, are answered, leave, and lose their replica: no cap is exceeded and no place is forgotten."""
    draw = random.Random(7)  # noqa: S311 - a test
    loads = [replica("a", 3), replica("b", 2), replica("c", 1)]
    one = line(*loads, most=40, seconds=0.2)
    ends: Counter[str] = Counter()

    async def at(hold: Hold, ask: Ask) -> bool:
        """Be at the replica for a while; return whether it has lived."""
        try:
            assert hold.load.requests <= hold.load.cap
            await asyncio.sleep(draw.random() * 0.01)
            lives = draw.random() > 0.2
            if lives:
                hold.load.breaker.succeeded(hold.number)
            else:
                hold.load.breaker.failed(hold.number, asyncio.get_running_loop().time() - 30)
            return lives
        finally:
            one.release(hold, ask)

    async def request(person: str) -> None:
        ask = Ask(draw.randint(1, 500), person, Priority(draw.randint(1, 3)))
        try:
            hold: Hold | None = await one.enter(ask)
            tried: list[str] = []
            while hold is not None and not await at(hold, ask):
                tried.append(hold.load.endpoint.replica)
                hold = await one.instead(ask, tried)
                assert hold is None or hold.load.endpoint.replica not in tried
            ends["answered" if hold is not None else "alone"] += 1
        except (Overloaded, NoReplica) as error:
            ends[type(error).__name__] += 1

    tasks = []
    for i in range(1500):
        tasks.append(asyncio.create_task(request("abcdefgh"[i % 8])))
        if draw.random() < 0.15:
            draw.choice(tasks).cancel()
        if i % 100 == 50:
            one.ready = draw.sample(loads, draw.randint(0, 3))
            one.serve()
        if i % 4 == 0:
            await asyncio.sleep(draw.random() * 0.004)
    one.ready = loads
    one.serve()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [(0, 0)] * 3 == [counts(load) for load in loads]
    assert (0, {}) == (len(one.queue), one._futures)
    assert min(ends["answered"], ends["Overloaded"]) > 50
    assert all(task.cancelled() or task.exception() is None for task in tasks)
