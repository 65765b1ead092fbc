"""What a new owner of replicas finds is told on until it knows better."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.before import as_before, usable
from backends.deployment import Deployment, Engine
from backends.endpoint import Endpoint, ReplicaState
from backends.probe import address
from backends.replica import Replica
from backends.watch import MISSES
from tests.backends.running import eventually
from tests.fakes import FakeEngine, answer, well_behaved

EXTERNAL = Deployment(model="m", engine=Engine.EXTERNAL, url="http://engine:8000/v1")
NAMED = Deployment(model="m", engine=Engine.EXTERNAL, url="http://engine:8000/v1", discover="dns")
STARTED = Deployment(model="m", engine=Engine.XLLAMACPP, path="/m.gguf")
READY = Endpoint(
    replica="m#0", model="m", engine="external", served_name="s", host="engine", port=8000, state=ReplicaState.READY
)


def known(**fields: Any) -> Endpoint:
    return msgspec.structs.replace(READY, **fields)


@pytest.mark.parametrize(
    ("deployment", "before", "used"),
    [
        (EXTERNAL, READY, True),
        (EXTERNAL, known(replica="n#0", model="n"), False),
        (EXTERNAL, known(host="another"), False),
        (EXTERNAL, known(port=8001), False),
        (EXTERNAL, known(tls=True), False),
        (EXTERNAL, known(base_path="/m"), False),
        (EXTERNAL, known(state=ReplicaState.STARTING), False),
        (EXTERNAL, known(state=ReplicaState.DRAINING, lingers=True), False),
        (NAMED, known(host="10.0.0.7", replica="m#3"), True),
        (NAMED, known(host="10.0.0.7", port=8001), False),
        (NAMED, known(host="10.0.0.7", model="n"), False),
        (STARTED, known(host="127.0.0.1", port=40001), True),
        (STARTED, known(replica="m#1"), False),
    ],
)
def test_what_is_used(deployment: Deployment, before: Endpoint, used: bool) -> None:
    """What was ready, and is where the settings have it; an engine of our own may have any port."""
    assert [before] * used == list(usable([before], "m#0", deployment, address(deployment)))


def test_how_it_is_shown() -> None:
    """Where it was and ready, for the rest as the settings of now say; only while its owner knows nothing."""
    now = known(state=ReplicaState.STARTING, port=0, since=9.0, served_name="m", aliases=("a",))
    assert [known(since=5.0, aliases=("a",))] == as_before(now, [known(since=5.0)])
    assert [now] == as_before(now, [])
    failed = known(state=ReplicaState.FAILED)
    assert [failed] == as_before(failed, [READY])


async def test_an_external_engine_that_was_ready_may_miss_probes(tmp_path: Path) -> None:
    """As many as one that is ready, and for those who ask it nothing happens; then it has failed."""
    missed = 0

    async with FakeEngine() as engine:
        deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=f"http://127.0.0.1:{engine.port}/v1")
        told: list[list[ReplicaState]] = []
        replica = Replica(deployment, 0, tmp_path, poll_seconds=(0.02, 0.02))
        replica.before = (known(host="127.0.0.1", port=engine.port),)
        replica.on_change = lambda: told.append([one.state for one in replica.endpoints()])

        def ill(received: Any) -> Any:
            nonlocal missed
            missed += received.path == "/health"
            return well_behaved(received) if missed >= MISSES else answer({}, "503 Service Unavailable")

        engine.script = ill
        await replica.ensure_ready()
        assert {(ReplicaState.READY,)} == {tuple(states) for states in told}
        await replica.stop()
        told.clear()
        missed = -100
        replica.before = (known(host="127.0.0.1", port=engine.port),)
        with pytest.raises(Exception, match="answered 503"):
            await replica.ensure_ready()
        await eventually(lambda: told[-1:] == [[ReplicaState.FAILED]])
        assert missed + 100 == MISSES
        assert [ReplicaState.STARTING] not in told
        await replica.stop()
