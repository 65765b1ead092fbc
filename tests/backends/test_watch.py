"""A ready engine that is watched: it ends in silence, though its health is fine."""

import asyncio
from collections.abc import Sequence

import pytest

from backends.deployment import Deployment, Engine
from backends.probe import Address
from backends.watch import Watch, until_healthy
from tests.backends.running import eventually
from tests.fakes import FakeEngine, Hang, Received, Step, answer, well_behaved

POLL = 0.02


def deployment(stall_seconds: float = 0.2) -> Deployment:
    return Deployment(model="m", engine=Engine.XLLAMACPP, path="/m.gguf", stall_seconds=stall_seconds)


def deaf(received: Received) -> Sequence[Step]:
    """Answer the health probe alone."""
    return well_behaved(received) if received.path == "/health" else [Hang()]


async def watched(engine: FakeEngine, watch: Watch, seconds: float = 1.5) -> str | None:
    """Return why the engine is lost; None: it is not within *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            return await watch.until_lost(Address("127.0.0.1", engine.port), "/health", POLL)
    except TimeoutError:
        return None


def canaries(engine: FakeEngine) -> int:
    return sum(received.path == "/v1/completions" for received in engine.received)


async def test_silent_to_people_and_to_the_canary() -> None:
    """A health of 200 does not save it."""
    async with FakeEngine(deaf) as engine:
        lost = await watched(engine, Watch(deployment(), "m", lambda: 7.0))
        assert lost == "the engine had requests and said nothing for 7 s"
        assert canaries(engine) == 1
        assert engine.received[-1].path in {"/health", "/v1/completions"}


async def test_silent_to_people_alone() -> None:
    """One that answers the canary lives, and is asked again after as long."""
    async with FakeEngine() as engine:
        assert await watched(engine, Watch(deployment(), "m", lambda: 7.0), 1.0) is None
        assert 2 <= canaries(engine) <= 5
        question = next(one for one in engine.received if one.path == "/v1/completions").json()
        assert (question["model"], question["max_tokens"]) == ("m", 1)


async def test_a_word_to_anybody_ends_the_suspicion() -> None:
    """The canary has to wait behind people in a full engine."""
    silent = 7.0
    async with FakeEngine(deaf) as engine:
        watching = asyncio.create_task(watched(engine, Watch(deployment(), "m", lambda: silent), 1.0))
        await eventually(lambda: canaries(engine) == 1)
        silent = 0.1
        assert await watching is None


@pytest.mark.parametrize(("seconds", "silent"), [(0, 1e6), (10, 9.0), (10, None)])
async def test_nobody_is_asked_without_need(seconds: float, silent: float | None) -> None:
    """Never, not yet, nobody waits."""
    async with FakeEngine(deaf) as engine:
        assert await watched(engine, Watch(deployment(seconds), "m", lambda: silent), 0.3) is None
        assert canaries(engine) == 0


async def test_an_engine_without_that_route_is_not_dead() -> None:
    """What cannot be asked proves nothing."""

    def script(received: Received) -> Sequence[Step]:
        return well_behaved(received) if received.path == "/health" else answer({}, "404 Not Found")

    async with FakeEngine(script) as engine:
        assert await watched(engine, Watch(deployment(), "m", lambda: 7.0), 0.6) is None


async def test_missed_probes() -> None:
    """Three in a row; and health is waited for."""
    ill = False

    def script(received: Received) -> Sequence[Step]:
        return answer({}, "503 Service Unavailable") if ill else well_behaved(received)

    async with FakeEngine(script) as engine:
        where = Address("127.0.0.1", engine.port)
        await until_healthy(deployment(), where, "/health", POLL)
        watching = asyncio.create_task(watched(engine, Watch(deployment(), "m", lambda: None)))
        await asyncio.sleep(0.1)
        ill = True
        assert await watching == "the engine missed 3 health probes in a row"
