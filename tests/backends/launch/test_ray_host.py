"""What stands beside an engine on a node, with real processes and without Ray."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import shim
from backends.launch import ray_host
from backends.launch.ray_host import Host, environment
from tests.backends.running import alive, children, wait_until

SHIM = Path(shim.__file__).read_text()
SAYS = "import os,time; print('up', os.environ.get('WORD'), flush=True); time.sleep(60)"

Make = Callable[..., Host]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes hosts whose engines end with the test."""
    made: list[Host] = []

    def make(orphan_seconds: float = 0) -> Host:
        made.append(Host("me", SHIM, orphan_seconds, "127.0.0.1"))
        return made[-1]

    yield make
    for host in made:
        host.orphan_seconds = 0  # what ends itself in silence is this process
        host.stop()
        wait_until(lambda host=host: host._shim is None or host._shim.poll() is not None)  # type: ignore[misc]
        host.clear()


def start(host: Host, code: str, **added: str) -> int:
    return host.start([sys.executable, "-c", code], added, 5.0, 1_000_000, {"about": {"port": 1}})


def log_of(host: Host, until: str) -> str:
    """Return the log, from the begin, once it has *until*."""
    texts: list[str] = []

    def said() -> bool:
        texts.append(host.look(None)["log"])
        return until in "".join(texts)

    wait_until(said)
    return "".join(texts)


def test_an_engine_runs_and_ends_as_it_is_told(make: Make) -> None:
    """Its log comes over, and its end with its status."""
    host = make()
    pid = start(host, SAYS, WORD="here")
    assert "up here\n" == log_of(host, "up")
    [engine] = children(pid)
    host.stop()
    wait_until(lambda: host.look(None)["status"] is not None)
    assert 128 + signal.SIGTERM == host.look(None)["status"]
    assert not alive(engine)


def test_the_log_is_told_line_by_line_and_again_when_it_was_not_heard(make: Make) -> None:
    """What the owner has seen is its own word; a half line waits for its rest."""
    host = make()
    start(host, "import sys; sys.stdout.write('first\\nsec'); sys.stdout.flush(); sys.stdin.read(); input()")
    wait_until(lambda: host.look(None)["status"] is not None)  # it has no stdin
    assert host.look(0)["log"].startswith("first\nsec")
    assert host.look(6)["log"].startswith("sec")

    other = make()
    start(other, "import sys,time; sys.stdout.write('first\\nsec'); sys.stdout.flush(); time.sleep(60)")
    wait_until(lambda: other.look(0)["log"] != "")
    assert ("first\n", 6) == (other.look(0)["log"], other.look(0)["seen"])


def test_another_owner_may_take_it_once_the_first_is_silent(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: two owners would end each other's engines. The same one always may, as after its restart."""
    host = make()
    start(host, SAYS)
    assert {"holder": "me"} == host.take("other", 0)
    found = host.take("me", 0)
    assert ("me", True, {"about": {"port": 1}}) == (found["holder"], found["runs"], found["started"])
    monkeypatch.setattr(ray_host, "HELD_SECONDS", 0.0)
    assert "other" == host.take("other", 0)["holder"]


def test_a_port_that_somebody_has_is_not_given(make: Make) -> None:
    """A fixed one is said to be taken, and without one a free one is found."""
    host = make()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not host.place(taken.getsockname()[1])["free"]
    found = host.place(None)
    assert ("127.0.0.1", True) == (found["host"], found["free"])
    assert found["port"] > 0


def test_it_ends_by_itself_when_nobody_asks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its engine and its folder."""
    left = threading.Event()
    monkeypatch.setattr(Host, "_leave", lambda _: left.set())
    host = make(orphan_seconds=1.5)
    [engine] = _engine(host)
    for _ in range(3):  # asked for, it goes on
        time.sleep(0.7)
        host.look(None)
    assert alive(engine)
    assert left.wait(20)
    assert not alive(engine)
    assert not host.folder.exists()


def _engine(host: Host) -> list[int]:
    pid = start(host, SAYS)
    wait_until(lambda: children(pid) != [])
    return children(pid)


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ({"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "2,3"}, {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "2,3", "A": "1"}),
        ({"RAY_JOB_ID": "1", "OMP_NUM_THREADS": "1"}, {"A": "1"}),
    ],
)
def test_environment(inherited: dict[str, str], expected: dict[str, Any]) -> None:
    """The GPUs are Ray's; what is there for Ray's own workers is not an engine's."""
    assert expected == environment(inherited, {"A": "1"})


def test_what_is_added_counts() -> None:
    """A deployment may say what Ray's variable must not."""
    assert {"OMP_NUM_THREADS": "8"} == environment({"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "8"})


def test_no_engine_outlives_its_actor() -> None:
    """The kernel ends the shim with the process that started it."""
    code = (
        "import sys,time; from backends.launch.ray_host import Host; h=Host('me', open(sys.argv[1]).read(), 0, '127.0.0.1');"
        "print(h.start([sys.executable,'-c','import time; time.sleep(60)'], {}, 5.0, 10**6, {}), h.folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, shim.__file__], stdout=subprocess.PIPE, text=True) as actor:
        assert actor.stdout is not None
        pid, folder = actor.stdout.readline().split()
        wait_until(lambda: children(int(pid)) != [])
        [engine] = children(int(pid))
        os.kill(actor.pid, signal.SIGKILL)
    wait_until(lambda: not alive(engine) and not alive(int(pid)))
    for file in Path(folder).iterdir():
        file.unlink()
    Path(folder).rmdir()


def test_what_waits_for_an_owner_to_be_silent_ends_with_the_host() -> None:
    """No thread of it is left."""
    before = set(threading.enumerate())
    host = Host("me", SHIM, 3600, "127.0.0.1")
    [watching] = set(threading.enumerate()) - before
    host.clear()
    del host
    wait_until(lambda: not watching.is_alive())
