"""Replicas that are found by a name: they come, go and come back, as a headless Service's addresses do."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends import discovery
from backends.deployment import Deployment, Engine
from backends.discovery import Discovered, resolved
from backends.endpoint import ReplicaState
from tests.backends.running import eventually
from tests.fakes import FakeEngine

READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING
ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Three engines at three addresses; their port."""
    async with contextlib.AsyncExitStack() as stack:
        first = FakeEngine()
        stack.push_async_exit(first)
        await first.listen(0, ONE)
        for host in (TWO, THREE):
            other = FakeEngine()
            stack.push_async_exit(other)
            await other.listen(first.port, host)
        yield first.port


@pytest.fixture
async def found(port: int, tmp_path: Path) -> AsyncIterator[Discovered]:
    """A deployment of which no address is known yet."""
    deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=f"http://engines:{port}/v1", discover="dns")
    made = Discovered(deployment, tmp_path, drain_seconds=0)
    yield made
    await made.stop()


def states(found: Discovered) -> dict[str, tuple[str, ReplicaState]]:
    return {one.host: (one.replica, one.state) for one in found.endpoints()}


async def test_each_address_is_a_replica(found: Discovered, port: int) -> None:
    """With the lowest number that is free, and known by its own health."""
    changes: list[int] = []
    found.on_change = lambda: changes.append(1)
    await found.take({TWO, ONE})
    await eventually(lambda: states(found) == {ONE: ("m#0", READY), TWO: ("m#1", READY)})
    assert changes
    assert {(one.port, one.base_path, one.model) for one in found.endpoints()} == {(port, "", "m")}
    await found.take({ONE, TWO, THREE})
    await eventually(lambda: states(found)[THREE] == ("m#2", READY))


async def test_an_address_that_is_gone_drains_and_is_forgotten(found: Discovered) -> None:
    """After two looks without it; its number is then another one's."""
    found.drain_seconds = 60
    await found.take({ONE, TWO})
    await eventually(lambda: {state for _, state in states(found).values()} == {READY})
    await found.take({TWO})
    assert states(found)[ONE] == ("m#0", READY), "an answer may have been cut short"
    await found.take({TWO})
    assert states(found) == {ONE: ("m#0", DRAINING), TWO: ("m#1", READY)}
    await found.take({TWO, THREE})
    assert states(found)[THREE][0] == "m#2", "the number of one that drains is not free"
    found.drain_seconds = 0
    await found.take({TWO, THREE})
    assert set(states(found)) == {TWO, THREE}
    await found.take({ONE, TWO, THREE})
    assert states(found)[ONE][0] == "m#0"


async def test_an_address_that_comes_back_goes_on(found: Discovered) -> None:
    """As the replica that it was."""
    found.drain_seconds = 60
    await found.take({ONE})
    for _ in range(2):
        await found.take(set())
    assert states(found) == {ONE: ("m#0", DRAINING)}
    await found.take({ONE})
    await eventually(lambda: states(found) == {ONE: ("m#0", READY)})


async def test_where_nobody_is_found_the_model_is_known(found: Discovered) -> None:
    """It has no replica, and is not unknown: starting until somebody has looked, then failed."""
    assert states(found) == {"engines": ("m#0", ReplicaState.STARTING)}
    await found.take(set())
    assert states(found) == {"engines": ("m#0", ReplicaState.FAILED)}


async def test_while_nobody_can_say_what_is_known_stays(found: Discovered, caplog: pytest.LogCaptureFixture) -> None:
    """A name server that is away takes no replica away; the log says it once."""
    looks = 0

    async def resolve(host: str, port: int) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 1:
            return {ONE}
        raise socket.gaierror(socket.EAI_AGAIN, f"no answer for {host}:{port}")

    found.resolve, found.look_seconds = resolve, 0.01
    task = asyncio.create_task(found.run())
    await eventually(lambda: looks > 10 and states(found) == {ONE: ("m#0", READY)})
    task.cancel()
    assert caplog.text.count("engines cannot be resolved") == 1


async def test_more_than_there_may_be_are_left_out(found: Discovered, caplog: pytest.LogCaptureFixture) -> None:
    """A name that stands for the whole network makes no thousand probes."""
    await found.take({f"127.1.{i}.{j}" for i in range(2) for j in range(1, 51)})
    assert (64, 1) == (len(found.endpoints()), len({one.model for one in found.endpoints()}))
    assert "more than 64 addresses" in caplog.text


async def test_the_system_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names by the system's own resolver; a name that is not known is nobody, silence is an error."""
    assert {"127.0.0.1"} <= await resolved("127.0.0.1", 80)
    loop = asyncio.get_running_loop()
    for number, expected in ((socket.EAI_NONAME, set()), (socket.EAI_AGAIN, None)):

        async def fails(*_: object, number: int = number, **__: object) -> None:
            raise socket.gaierror(number, "made up")

        monkeypatch.setattr(loop, "getaddrinfo", fails)
        if expected is None:
            with pytest.raises(socket.gaierror):
                await resolved("engines", 80)
        else:
            assert expected == await resolved("engines", 80)
    assert discovery.LOOK_SECONDS < 10
