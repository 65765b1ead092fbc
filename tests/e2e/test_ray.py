"""Replicas on a Ray cluster of two simulated nodes: placed, lost with their node, placed again, adopted, ended.

`make test-ray`; the figures are printed.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_gguf
from tests.backends.running import alive, wait_until
from tests.e2e.conftest import Stack, again, start, stop
from tests.gateway.test_serve import ask

PYTHON = os.environ.get("GATEWAY_TEST_RAY_PYTHON", "")
"""An interpreter that has Ray."""
ACTOR = "tiny#0"
BACK_SECONDS = 90.0

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="needs Ray: make test-ray"),
    pytest.mark.timeout(300),
]


class Nodes:
    """The cluster, as `tests/ray/nodes.py` runs it."""

    def __init__(self, folder: Path) -> None:
        program = Path(__file__).parent.parent / "ray" / "nodes.py"
        self.log = (folder.parent / "nodes.log").open("wb")
        self.process = subprocess.Popen(
            [PYTHON, str(program), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        self.address: str = self.read()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def order(self, *words: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.log.close()


def processes(word: str) -> dict[int, str]:
    """Return the living processes that have *word* on their command line or in their environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command, variables = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if word.encode() in command + variables and alive(int(folder.name)):
            found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: those of Ray's sockets are long enough."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder / "r"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def nodes(short: Path) -> Iterator[Nodes]:
    running = Nodes(short)
    yield running
    running.end()
    assert {} == processes(str(short))


@pytest.fixture
def gateway(nodes: Nodes, tmp_path: Path) -> Iterator[Stack]:
    path = tiny_gguf.write(tmp_path / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512, "num_gpus": 2}
    ray = {"address": nodes.address, "namespace": "test", "python": PYTHON}
    stack = start(
        tmp_path / "gw",
        {"deployments": [{**deployment, "placement": "ray"}], "ray": ray},
        GATEWAY_ENGINES__OUTLIVE="restart",
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # or Ray's client takes 127.0.0.1 for this machine's other address
    )
    yield stack
    stop(stack)


def engines(stack: Stack) -> list[int]:
    """Return the engines of the model, wherever they run."""
    model = str(stack.folder.parent / "tiny.gguf")
    return [pid for pid, command in processes(model).items() if "xllamacpp_server" in command and "shim" not in command]


def variables(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def ended(stack: Stack) -> None:
    """End the gateway as Ctrl-C does: with its engines."""
    stack.process.send_signal(signal.SIGINT)
    stack.process.wait(60)


def test_a_replica_loses_its_node_and_is_placed_on_the_other(nodes: Nodes, gateway: Stack) -> None:
    """Traffic is back without anybody's help, on the other node, and nothing is left of the first."""
    assert 200 == ask(gateway)
    [engine] = engines(gateway)
    given = variables(engine)
    assert "0,1" == given["CUDA_VISIBLE_DEVICES"]
    assert [] == [name for name in given if name.startswith("RAY_")]
    first = nodes.order("where", ACTOR)

    began = time.monotonic()
    nodes.order("kill", ACTOR)
    killed = time.monotonic() - began
    wait_until(lambda: not alive(engine), 30)
    gone = time.monotonic() - began
    wait_until(lambda: ask(gateway) == 200, BACK_SECONDS)
    back = time.monotonic() - began
    print(f"\nnode killed: {killed:.1f} s; its engine gone: {gone:.1f} s; traffic back: {back:.1f} s")  # noqa: T201 - the figures

    second = nodes.order("where", ACTOR)
    assert second and second != first
    assert 1 == len(engines(gateway))
    ended(gateway)
    assert [] == engines(gateway)
    assert "" == nodes.order("where", ACTOR)
    wait_until(lambda: nodes.order("free").get("GPU") == 2.0, 30)  # of the node that is left: nothing is set aside


def test_a_replica_lives_through_a_crash_of_the_gateway_and_is_adopted(nodes: Nodes, gateway: Stack) -> None:
    """The same engine serves afterwards; its log has one load."""
    before = engines(gateway)
    gateway.process.kill()
    gateway.process.wait()
    again(gateway)
    began = time.monotonic()
    wait_until(lambda: "adopted the engine that runs" in gateway.log(), BACK_SECONDS)
    print(f"\nadopted {time.monotonic() - began:.1f} s after the start")  # noqa: T201 - the figures
    wait_until(lambda: ask(gateway) == 200, BACK_SECONDS)
    assert before == engines(gateway)
    log = gateway.folder / "data" / "engines" / "tiny_0" / "engine.log"
    assert 1 == log.read_text().count("listening on")
    ended(gateway)
    assert [] == engines(gateway)
    assert "" == nodes.order("where", ACTOR)


def test_a_killed_engine_is_started_again(nodes: Nodes, gateway: Stack) -> None:
    """The end is seen with its status, though it happened elsewhere."""
    [engine] = engines(gateway)
    began = time.monotonic()
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: engines(gateway) not in ([], [engine]) and ask(gateway) == 200, BACK_SECONDS)
    print(f"\ntraffic back {time.monotonic() - began:.1f} s after the engine was killed")  # noqa: T201 - the figures
    assert "the engine ended with 137" in gateway.log()
    ended(gateway)
    assert "" == nodes.order("where", ACTOR)
