"""Real processes: the shim, and replicas of real llama.cpp."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.engines.family import Command
from backends.errors import StartFailed
from backends.process import Process
from backends.replica import Replica
from tests import tiny_gguf
from tests.fakes import FakeEngine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model."""
    return tiny_gguf.write(tmp_path_factory.mktemp("model") / "tiny.gguf")


def replica(model: Path | str, folder: Path, **changes: Any) -> Replica:
    fields: dict[str, Any] = {
        "model": "tiny",
        "engine": "xllamacpp",
        "path": str(model),
        "parallel": 1,
        "max_model_len": 512,
    }
    deployment = Deployment(**{**fields, **changes})
    return Replica(deployment, 0, folder, back_off=(0.05, 0.05), poll_seconds=(0.05, 0.1))


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


async def test_many_askers_start_one_engine(model: Path, tmp_path: Path) -> None:
    """ensure_ready from many tasks starts the engine once; stop leaves no process."""
    found = replica(model, tmp_path)
    await asyncio.gather(*(found.ensure_ready() for _ in range(10)))
    shim = found.process.pid
    assert shim is not None
    engines = children(shim)
    assert (ReplicaState.READY, 1) == (found.endpoint().state, len(engines))
    await found.ensure_ready()
    assert shim == found.process.pid
    await found.stop()
    assert found.endpoint().state is ReplicaState.STOPPED
    assert not any(alive(pid) for pid in (shim, *engines))
    assert json.loads((found.process.run_dir / "exit.json").read_text())["code"] == 0


async def test_a_bad_model_fails_with_the_engines_words(tmp_path: Path) -> None:
    """A start that cannot succeed says why."""
    found = replica(tmp_path / "nothing.gguf", tmp_path)
    with pytest.raises(StartFailed) as caught:
        await found.ensure_ready()
    assert "there is no file" in "\n".join(caught.value.log_tail)
    assert found.endpoint().state is ReplicaState.FAILED
    await found.stop()


async def test_a_busy_port_fails(model: Path, tmp_path: Path) -> None:
    """A port that someone else has is the engine's own error."""
    async with FakeEngine() as other:
        found = replica(model, tmp_path, port=other.port)
        found.poll_seconds = (30.0, 30.0)  # the other one answers the health probe too
        found.process.grace_seconds = 1
        with pytest.raises(StartFailed, match="ended with 1"):
            await asyncio.wait_for(_start_only(found), 20)
        await found.stop()


async def _start_only(found: Replica) -> None:
    async def never(*_: object) -> bool:
        return False

    found._healthy = never  # type: ignore[method-assign]
    await found.ensure_ready()


async def test_a_killed_engine_comes_back(model: Path, tmp_path: Path) -> None:
    """An engine that is killed is started again, elsewhere than before, without being asked."""
    found = replica(model, tmp_path)
    await found.ensure_ready()
    shim = found.process.pid
    assert shim is not None
    os.kill(children(shim)[0], signal.SIGKILL)
    await until(lambda: found.process.pid != shim and found.endpoint().state is ReplicaState.READY)
    assert json.loads((found.process.run_dir / "engine.log").read_bytes() and "{}") == {}
    await found.stop()


async def test_a_crash_loop_ends_as_failed(tmp_path: Path) -> None:
    """An engine that is healthy and dies again and again is given up."""
    script = tmp_path / "llama-server"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys, http.server, threading, time, os\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *a): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', port), H)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "time.sleep(0.6); print('out of memory', flush=True); os._exit(3)\n"
    )
    script.chmod(0o755)
    found = replica("/dev/null", tmp_path, engine="llama_server", binary=str(script))
    await found.ensure_ready()
    await until(lambda: found.endpoint().state is ReplicaState.FAILED, 20)
    assert found.last_error is not None
    assert "out of memory" in "\n".join(found.last_error.log_tail)
    await found.stop()


async def test_an_external_engine_is_followed(tmp_path: Path) -> None:
    """Nothing is started for an external engine; it comes and goes with its health."""
    async with FakeEngine() as engine:
        url = f"http://127.0.0.1:{engine.port}/v1/"
        deployment = Deployment(model="m", engine=Engine.EXTERNAL, url=url)
        found = Replica(deployment, 0, tmp_path, poll_seconds=(0.05, 0.05))
        await found.ensure_ready()
        endpoint = found.endpoint()
        assert ("127.0.0.1", engine.port, "", False) == (endpoint.host, endpoint.port, endpoint.base_path, endpoint.tls)
    await until(lambda: found.endpoint().state is ReplicaState.FAILED)
    await found.stop()


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


async def test_what_an_engine_leaves_behind_is_ended(tmp_path: Path) -> None:
    """A killed main process takes its workers with it: a killed vLLM leaves them alive by itself."""
    process = Process(tmp_path, grace_seconds=1)
    await process.start(Command((sys.executable, "-c", FAMILY)))
    await until(lambda: process.tail(1))
    worker = int(process.tail(1)[0])
    assert process.pid is not None
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert await asyncio.wait_for(process.wait(), 10) == 128 + signal.SIGKILL
    await until(lambda: not alive(worker))
    assert json.loads((tmp_path / "exit.json").read_text())["signal"] == signal.SIGKILL


async def test_an_engine_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """After its grace time nothing of an engine is left."""
    process = Process(tmp_path, grace_seconds=0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    )
    await process.start(Command((sys.executable, "-c", stubborn)))
    await until(lambda: process.tail(1))
    began = time.monotonic()
    await process.stop()
    assert time.monotonic() - began < 5


OWNER = """
import asyncio, sys
from pathlib import Path
from backends.engines.family import Command
from backends.process import Process

async def main():
    process = Process(Path(sys.argv[1]), 1)
    await process.start(Command((sys.executable, "-c", sys.argv[2])))
    print(process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_an_engine_ends_with_its_owner(tmp_path: Path) -> None:
    """kill -9 of the owner leaves neither engine nor worker."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), FAMILY], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        shim = int(owner.stdout.readline())
        log = tmp_path / "engine.log"
        await until(lambda: log.exists() and log.read_text().strip())
        worker, engine = int(log.read_text()), children(shim)[0]
        owner.kill()
        owner.wait()
        await until(lambda: not any(alive(pid) for pid in (shim, engine, worker)))
