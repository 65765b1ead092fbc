"""Replicas of real llama.cpp, and of engines that misbehave."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.engines.family import Command
from backends.errors import StartFailed
from backends.launch import local
from backends.ports import free_port
from backends.process import Outlive
from backends.record import About
from backends.replica import Replica
from tests import tiny_gguf
from tests.backends.running import alive, children, eventually
from tests.fakes import FakeEngine, Received, Step, answer, well_behaved

Make = Callable[..., Replica]

ENGINE = """#!{python}
import http.server, os, pathlib, sys, threading, time
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if pathlib.Path("{folder}/ill").exists() else 200)
        self.end_headers()
    def log_message(self, *words):
        pass
if not pathlib.Path("{folder}/crash").exists():
    server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={{"poll_interval": 0.01}}, daemon=True).start()
while not pathlib.Path("{folder}/crash").exists():
    time.sleep(0.01)
print("out of memory", flush=True)
os._exit(3)
"""
"""Healthy unless the file `ill` is there; ends as soon as the file `crash` is."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model."""
    return tiny_gguf.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture
async def make(model: Path, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes replicas of the tiny model that are stopped with the test; *seen* gets their states."""
    made: list[Replica] = []

    def make(
        *, seen: list[ReplicaState] | None = None, index: int = 0, outlive: Outlive | None = None, **changes: Any
    ) -> Replica:
        fields = {"model": "tiny", "engine": "xllamacpp", "path": str(model), "parallel": 1, "max_model_len": 512}
        deployment = Deployment.model_validate({**fields, **changes})
        folder, back_off = tmp_path / "engines", (0.01, 0.01, 0.01, 0.01)
        replica = Replica(
            deployment,
            index,
            folder,
            clock=lambda: 0.0,
            back_off=back_off,
            poll_seconds=(0.02, 0.05),
            port_seconds=0.1,
            outlive=outlive,
        )
        if seen is not None:
            replica.on_change = lambda: seen.append(replica.state)
        made.append(replica)
        return replica

    yield make
    for replica in made:
        await replica.stop()


@pytest.fixture
def script(tmp_path: Path) -> dict[str, str]:
    """A deployment's fields for the engine that misbehaves when told so."""
    program = tmp_path / "llama-server"
    program.write_text(ENGINE.format(python=sys.executable, folder=tmp_path))
    program.chmod(0o755)
    return {"engine": "llama_server", "binary": str(program), "path": "/dev/null"}


def processes(replica: Replica) -> list[int]:
    """Return the replica's shim and engine."""
    assert replica.process.pid is not None
    return [replica.process.pid, *children(replica.process.pid)]


async def test_many_askers_start_one_engine(make: Make) -> None:
    """`ensure_ready` from many tasks starts the engine once; stop leaves no process."""
    replica = make()
    await asyncio.gather(*(replica.ensure_ready() for _ in range(10)))
    pids = processes(replica)
    assert (replica.endpoint().state, len(pids)) == (ReplicaState.READY, 2)
    await replica.ensure_ready()
    assert processes(replica) == pids
    await replica.stop()
    assert replica.endpoint().state is ReplicaState.STOPPED
    assert not any(alive(pid) for pid in pids)
    assert json.loads((replica.process.run_dir / "exit.json").read_text())["code"] == 0


async def test_endpoint(make: Make, model: Path) -> None:
    """The endpoint says all that a worker has to know."""
    replica = make(aliases=["t"], parallel=3, routing="affinity")
    await replica.ensure_ready()
    endpoint = replica.endpoint()
    assert (endpoint.replica, endpoint.model, endpoint.aliases) == ("tiny#0", "tiny", ("t", str(model)))
    assert (endpoint.engine, endpoint.served_name, endpoint.slots) == ("xllamacpp", "tiny", 3)
    assert (endpoint.host, endpoint.tls, endpoint.base_path) == ("127.0.0.1", False, "")
    assert (endpoint.tasks, endpoint.routing) == (("generate",), "affinity")
    _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.close()


async def test_each_replica_has_its_port_and_gpus(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """The second replica listens on the second port of the range, and sees the second group of GPUs."""
    first = free_port("127.0.0.1")
    program = tmp_path / "llama-server"
    seen = "pathlib.Path(sys.argv[0]).with_name('gpus').write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n"
    program.write_text(program.read_text().replace("port = int", f"{seen}port = int"))
    replica = make(**script, index=1, replicas=2, port=f"{first - 1}-{first}", gpus=[4, 5, 6, 7])
    await replica.ensure_ready()
    assert (replica.endpoint().replica, replica.endpoint().port) == ("tiny#1", first)
    assert (tmp_path / "gpus").read_text() == "6,7"


def test_adapters_are_told_of(tmp_path: Path) -> None:
    """vLLM's are models of their own; llama.cpp's are names of the one model."""
    fields = {"model": "m", "path": "/m", "adapters": [{"name": "law", "path": "/loras/law"}]}
    vllm, llama = (
        Replica(Deployment.model_validate({**fields, "engine": engine}), 0, tmp_path).endpoint()
        for engine in ("vllm", "llama_server")
    )
    assert (("law",), ("/m",)) == (vllm.adapters, vllm.aliases)
    assert ((), ("/m", "law")) == (llama.adapters, llama.aliases)


async def test_every_change_is_told(make: Make) -> None:
    """The owner hears of each state once, in its order."""
    seen: list[ReplicaState] = []
    replica = make(seen=seen)
    await replica.ensure_ready()
    await replica.stop()
    await replica.stop()
    assert seen == [ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.STOPPED]


async def test_stopped_and_asked_again(make: Make) -> None:
    """A stopped replica starts anew; one that is stopping is waited for first."""
    replica = make()
    await replica.ensure_ready()
    before = processes(replica)
    stopping = asyncio.create_task(replica.stop())
    await asyncio.sleep(0)
    await replica.ensure_ready()
    assert stopping.done()
    assert not any(alive(pid) for pid in before)
    assert len(processes(replica)) == 2


async def test_stopped_while_it_starts(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """Whoever waits for a replica that is stopped meanwhile is told so."""
    (tmp_path / "ill").touch()
    replica = make(**script)
    waiting = asyncio.create_task(replica.ensure_ready())
    await eventually(lambda: replica.process.pid is not None and len(processes(replica)) == 2)
    pids = processes(replica)
    await replica.stop()
    with pytest.raises(StartFailed, match="tiny#0 was stopped while it started"):
        await waiting
    assert not any(alive(pid) for pid in pids)


async def test_an_asker_who_leaves(make: Make) -> None:
    """Cancelling one who waits neither stops the start nor anybody else's wait."""
    replica = make()
    leaving = asyncio.create_task(replica.ensure_ready())
    staying = asyncio.create_task(replica.ensure_ready())
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert replica.state is ReplicaState.READY


async def test_a_bad_model_fails_with_the_engines_words(make: Make, tmp_path: Path) -> None:
    """A start that cannot succeed fails at once, with the engine's last lines, and can be asked for again."""
    replica = make(path=str(tmp_path / "nothing.gguf"))
    for _ in range(2):
        with pytest.raises(StartFailed, match="the engine ended with 1 while it started") as caught:
            await replica.ensure_ready()
        assert caught.value.log_tail[-1].endswith(f"there is no file {tmp_path}/nothing.gguf")
        assert replica.endpoint().state is ReplicaState.FAILED


async def test_a_program_that_is_not_there(make: Make) -> None:
    """A program that cannot be run fails the start by its name."""
    replica = make(engine="llama_server", binary="/no/llama-server")
    with pytest.raises(StartFailed, match="ended with 127") as caught:
        await replica.ensure_ready()
    assert caught.value.log_tail == ("cannot run /no/llama-server: No such file or directory",)


async def test_a_run_directory_that_cannot_be_made(model: Path, tmp_path: Path) -> None:
    """A log that cannot be written fails the start and leaves nobody waiting."""
    (tmp_path / "engines").touch()
    deployment = Deployment(model="tiny", engine=Engine.XLLAMACPP, path=str(model))
    replica = Replica(deployment, 0, tmp_path / "engines")
    with pytest.raises(StartFailed, match="its process cannot be started"):
        await replica.ensure_ready()


async def test_a_fault_of_our_own_leaves_nobody_waiting(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong while a replica is looked after, it has failed, and who waits is told."""
    replica = make()

    async def broken(command: Command, *, about: About) -> None:
        raise RuntimeError(f"no {command.argv[0]}, {about}")

    monkeypatch.setattr(replica.process, "start", broken)
    with pytest.raises(StartFailed, match="tiny#0: no "):
        await replica.ensure_ready()
    assert replica.state is ReplicaState.FAILED


async def test_a_busy_port(make: Make) -> None:
    """Whoever else listens on a fixed port, healthy or not, is not taken for the engine."""
    async with FakeEngine() as other:
        replica = make(port=other.port, stop_grace_seconds=0.1)
        with pytest.raises(StartFailed, match=f"port {other.port} of 127.0.0.1 is taken by another process"):
            await replica.ensure_ready()
        assert other.received == []


async def test_a_port_that_an_engine_before_still_has(make: Make, script: dict[str, str]) -> None:
    """After the owner was killed its engine takes its grace to stop; the next one waits for the port."""
    async with FakeEngine() as before:
        replica = make(**script, port=before.port, stop_grace_seconds=20)
        assert replica.port_seconds >= 20
        starting = asyncio.create_task(replica.ensure_ready())
        await asyncio.sleep(0.3)
        assert (ReplicaState.STARTING, None) == (replica.state, replica.process.pid)
    await asyncio.wait_for(starting, 10)
    assert replica.state is ReplicaState.READY


async def test_stopped_while_it_waits_for_its_port(make: Make, script: dict[str, str]) -> None:
    """Nobody has to wait for a port to stop a replica."""
    async with FakeEngine() as before:
        replica = make(**script, port=before.port)
        starting = asyncio.create_task(replica.ensure_ready())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(replica.stop(), 2)
        with pytest.raises(StartFailed, match="was stopped while it started"):
            await starting


async def test_an_engine_that_does_not_get_well(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """An engine that is not healthy in time is ended."""
    (tmp_path / "ill").touch()
    replica = make(**script, start_timeout_seconds=0.5)
    with pytest.raises(StartFailed, match=r"the engine was not healthy after 0\.5 s"):
        await replica.ensure_ready()
    assert replica.process.pid is not None
    assert not alive(replica.process.pid)


async def test_a_killed_engine_comes_back(make: Make) -> None:
    """An engine that is killed is started again without being asked; who asks meanwhile waits for it."""
    seen: list[ReplicaState] = []
    replica = make(seen=seen)
    await replica.ensure_ready()
    shim, engine = processes(replica)
    os.kill(engine, signal.SIGKILL)
    await eventually(lambda: replica.state is ReplicaState.STARTING)
    await replica.ensure_ready()
    assert seen == [ReplicaState.STARTING, ReplicaState.READY] * 2
    assert processes(replica)[0] != shim
    assert replica.last_error is None


async def test_an_ill_engine_is_started_again(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """An engine that misses its probes is not ready any more, is ended, and comes back."""
    replica = make(**script)
    await replica.ensure_ready()
    before = processes(replica)
    (tmp_path / "ill").touch()
    await eventually(lambda: replica.state is ReplicaState.STARTING)
    assert "missed 3 health probes in a row" in str(replica.last_error)
    (tmp_path / "ill").unlink()
    await replica.ensure_ready()
    assert not any(alive(pid) for pid in before)


async def test_a_crash_loop_ends_as_failed(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """An engine that ends again and again is given up after the fifth time, with its last words."""
    seen: list[ReplicaState] = []
    replica = make(**script, seen=seen)
    await replica.ensure_ready()
    (tmp_path / "crash").touch()
    await eventually(lambda: replica.state is ReplicaState.FAILED)
    assert replica.last_error is not None
    assert replica.last_error.log_tail[-1] == "out of memory"
    assert replica.process.tail(99).count("out of memory") == 5
    with pytest.raises(StartFailed):
        await replica.ensure_ready()
    (tmp_path / "crash").unlink()
    await replica.ensure_ready()
    assert replica.last_error is None


async def test_an_external_engine_is_followed(tmp_path: Path) -> None:
    """Nothing is started for an external engine; it comes and goes with its health."""
    async with FakeEngine() as engine:
        url = f"http://127.0.0.1:{engine.port}/v1/"
        deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=url)
        replica = Replica(deployment, 0, tmp_path, poll_seconds=(0.02, 0.02))
        await replica.ensure_ready()
        endpoint = replica.endpoint()
        assert (endpoint.host, endpoint.port, endpoint.base_path, endpoint.tls) == ("127.0.0.1", engine.port, "", False)
        port = engine.port
    await eventually(lambda: replica.state is ReplicaState.FAILED)
    assert "nobody answers at its url" in str(replica.last_error)
    async with contextlib.AsyncExitStack() as stack:
        again = FakeEngine()
        stack.push_async_exit(again)
        await again.listen(port)
        await eventually(lambda: replica.endpoint().state is ReplicaState.READY)
    await replica.stop()
    assert replica.process.pid is None


async def test_an_external_engine_that_is_not_there(tmp_path: Path) -> None:
    """Who asks for an external engine that does not answer is told at once."""
    deployment = Deployment(model="m", engine=Engine.EXTERNAL, url="http://127.0.0.1:9/v1")
    replica = Replica(deployment, 0, tmp_path, poll_seconds=(0.02, 0.02))
    with pytest.raises(StartFailed, match="m#0: nobody answers at its url"):
        await replica.ensure_ready()
    await replica.stop()


async def test_a_wrong_key_of_an_external_engine_is_no_silence(tmp_path: Path) -> None:
    """An engine whose health is open, and whose models want another key, has failed; the reason names the key."""
    allowed = False

    def script(received: Received) -> Sequence[Step]:
        if received.path == "/v1/models" and not allowed:
            return answer({}, "401 Unauthorized")
        return well_behaved(received)

    async with FakeEngine(script) as engine:
        deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=f"http://127.0.0.1:{engine.port}")
        replica = Replica(deployment, 0, tmp_path, poll_seconds=(0.02, 0.02))
        with pytest.raises(StartFailed, match="m#0: GET /v1/models answered 401: is `api_key` right"):
            await replica.ensure_ready()
        allowed = True
        await eventually(lambda: replica.state is ReplicaState.READY)
        await replica.stop()


async def test_the_name_of_an_external_model(make: Make, tmp_path: Path) -> None:
    """An external engine is asked for the name under which it serves."""
    served = make()
    await served.ensure_ready()
    deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=f"http://127.0.0.1:{served.endpoint().port}")
    replica = Replica(deployment, 0, tmp_path, poll_seconds=(0.02, 0.02))
    await replica.ensure_ready()
    assert replica.endpoint().served_name == "tiny"
    await replica.stop()


async def test_an_engine_is_adopted(make: Make, tmp_path: Path) -> None:
    """An engine that an owner has left is the next owner's, ready at once, with the same process; then it can be stopped."""
    outlive = Outlive(tmp_path / "house", 0)
    before = make(outlive=outlive)
    assert not before.is_there()
    await before.ensure_ready()
    pids = processes(before)
    await before.leave()
    after = make(outlive=outlive)
    assert after.is_there()
    await after.ensure_ready()
    assert processes(after) == pids
    assert after.endpoint().port == before.endpoint().port
    assert after.looked.is_set()
    await after.stop()
    assert not any(alive(pid) for pid in pids)
    assert not make(outlive=outlive).is_there()


async def test_an_adopted_engine_that_ends_comes_back(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """The end of an adopted engine is seen as that of one's own, with its status, and it is started again."""
    outlive = Outlive(tmp_path / "house", 0)
    before = make(**script, outlive=outlive)
    await before.ensure_ready()
    await before.leave()
    seen: list[ReplicaState] = []
    after = make(**script, outlive=outlive, seen=seen)
    await after.ensure_ready()
    first = processes(after)
    (tmp_path / "crash").touch()
    await eventually(lambda: after.state is ReplicaState.STARTING)
    assert "the engine ended with 3" in str(after.last_error)
    (tmp_path / "crash").unlink()
    await after.ensure_ready()
    assert processes(after) != first


async def test_another_deployment_does_not_adopt(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """An engine that would be started in another way now is ended, and started so; aliases and routing are no way."""
    outlive = Outlive(tmp_path / "house", 0)
    before = make(**script, outlive=outlive)
    await before.ensure_ready()
    await before.leave()
    same = make(**script, outlive=outlive, aliases=["more"], routing="affinity", stop_grace_seconds=3)
    await same.ensure_ready()
    pids = processes(same)
    assert pids[0] == before.process.pid
    await same.leave()
    other = make(**script, outlive=outlive, extra_args=["--verbose"])
    await other.ensure_ready()
    assert not any(alive(pid) for pid in pids)
    assert processes(other)[0] != pids[0]


async def test_an_engine_that_does_not_get_well_is_not_kept(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """What is adopted and ill past the time of a start makes place for a new one."""
    outlive = Outlive(tmp_path / "house", 0)
    before = make(**script, outlive=outlive, start_timeout_seconds=1)
    await before.ensure_ready()
    pids = processes(before)
    await before.leave()
    (tmp_path / "ill").touch()
    after = make(**script, outlive=outlive, start_timeout_seconds=1)
    with pytest.raises(StartFailed, match="not healthy after 1 s"):
        await after.ensure_ready()
    assert not any(alive(pid) for pid in pids)


class Requests:
    """What a replica is told of its requests."""

    def __init__(self) -> None:
        self.running = True
        self.silent: float | None = None

    def busy(self, replica: str, since: float | None = None) -> bool:
        assert since is not None
        assert replica == "tiny#0"
        return self.running

    def silence(self, replica: str) -> float | None:
        assert replica == "tiny#0"
        return self.silent


async def test_a_replica_drains(make: Make, script: dict[str, str]) -> None:
    """It ends what it has and stays up; who asks for it takes it back; the time for that is bounded."""
    requests = Requests()
    replica = make(**script)
    replica.traffic = requests
    await replica.ensure_ready()
    pids = processes(replica)
    assert not await replica.drain(0.1)
    assert replica.endpoint().state is ReplicaState.DRAINING
    draining = asyncio.create_task(replica.drain(60))
    await asyncio.sleep(0.1)
    requests.running = False
    assert await draining
    assert replica.endpoint().state is ReplicaState.DRAINING
    await replica.ensure_ready()
    assert (replica.state, processes(replica)) == (ReplicaState.READY, pids)
    requests.running = True
    draining = asyncio.create_task(replica.drain(60))
    await eventually(lambda: replica.state is ReplicaState.DRAINING)
    await replica.ensure_ready()
    assert not await asyncio.wait_for(draining, 5)
    requests.running = False
    assert await replica.drain()
    await replica.stop()
    await replica.ensure_ready()
    assert (replica.state, processes(replica) != pids) == (ReplicaState.READY, True)


async def test_one_that_ends_while_it_drains_is_stopped(make: Make, script: dict[str, str], tmp_path: Path) -> None:
    """Nobody wants it back."""
    replica = make(**script)
    replica.traffic = Requests()
    await replica.ensure_ready()
    await replica.drain(0)
    (tmp_path / "crash").touch()
    await eventually(lambda: replica.state is ReplicaState.STOPPED)
    (tmp_path / "crash").unlink()
    await replica.ensure_ready()


async def test_unloaded_and_loaded_on_demand(make: Make, script: dict[str, str]) -> None:
    """No request is cut by it, one that comes meanwhile takes it back, and workers know that they may ask for it."""
    requests = Requests()
    replica = make(**script, idle_seconds=5)
    replica.traffic = requests
    assert not replica.endpoint().wakes
    replica.rest()
    assert (replica.endpoint().state, replica.endpoint().wakes) == (ReplicaState.STOPPED, True)
    await replica.ensure_ready()
    unloading = asyncio.create_task(replica.unload())
    await asyncio.sleep(0.2)
    assert (replica.endpoint().state, replica.endpoint().wakes) == (ReplicaState.DRAINING, True)
    await replica.ensure_ready()
    await unloading
    assert (replica.state, replica.asleep) == (ReplicaState.READY, False)
    requests.running = False
    pids = processes(replica)
    await replica.unload()
    assert (replica.endpoint().state, replica.endpoint().wakes) == (ReplicaState.STOPPED, True)
    assert not any(alive(pid) for pid in pids)
    await replica.stop()  # by somebody who means it
    assert not replica.endpoint().wakes


async def test_a_stalled_engine_is_started_again(make: Make, script: dict[str, str]) -> None:
    """Its health is fine, and neither people nor the canary get a token: this one has no answer to any POST."""
    requests, seen = Requests(), list[ReplicaState]()
    replica = make(**script, stall_seconds=0.2, seen=seen)
    replica.traffic = requests
    await replica.ensure_ready()
    first = processes(replica)
    requests.silent = 3.0
    await eventually(lambda: replica.state is ReplicaState.STARTING)
    assert "had requests and said nothing for 3 s" in str(replica.last_error)
    requests.silent = None
    await replica.ensure_ready()
    assert seen == [ReplicaState.STARTING, ReplicaState.READY] * 2
    assert processes(replica) != first


async def test_replicas_side_by_side(make: Make, script: dict[str, str]) -> None:
    """Replicas without a fixed port start at once, each on a port of its own."""
    replicas = [make(**script, model=f"m{i}", aliases=[]) for i in range(4)]
    await asyncio.gather(*(replica.ensure_ready() for replica in replicas))
    assert len({replica.endpoint().port for replica in replicas}) == 4


async def test_a_port_that_somebody_else_takes_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is fixed another one is tried; there is a moment between finding a port free and listening there."""
    replica = make()
    with socket.socket() as quicker:
        quicker.bind(("127.0.0.1", 0))
        quicker.listen()
        taken = quicker.getsockname()[1]
        ports = iter([taken])
        monkeypatch.setattr(local, "free_port", lambda host: next(ports, None) or free_port(host))
        await replica.ensure_ready()
        assert replica.endpoint().port != taken
