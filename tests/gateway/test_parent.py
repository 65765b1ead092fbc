"""Children that do not end by themselves: what is left of them when their parent has ended, or their time is over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, start, stop
from tests.gateway.test_serve import pid_of, tiny, wait_until_gone

THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()\n"
SAY = "import os; print(os.getpid(), flush=True)\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
STUCK = {
    "deaf": f"{DEAF}{SAY}import time; time.sleep(60)",
    "a call that does not return": f"{SAY}import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    "a thread that is waited for": f"{DEAF}{THREAD}{SAY}",
    "stopped": f"{SAY}import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
}
PARENT = """
import sys, time
from gateway.serve import Child
child = Child("child", (sys.executable, "-c", sys.argv[1]), {})
child.start(time.monotonic())
time.sleep(60)
"""


def ended(pid: int, seconds: float) -> bool:
    """Return whether the process is gone or a zombie within *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", STUCK)
def test_nothing_outlives_its_parent(how: str) -> None:
    """However a child is stuck, a kill -9 of its parent ends it."""
    with subprocess.Popen([sys.executable, "-c", PARENT, STUCK[how]], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)  # it goes on to where it is stuck
        parent.kill()
    assert ended(child, 5)


def test_a_program_ties_itself_to_the_parent_it_was_told(tmp_path: Path) -> None:
    """Exec may have loosened what was set before it; whose parent is somebody else already does not go on."""
    code = "import sys; from gateway.parent import tie_as_told; tie_as_told(sys.argv[1:]); print('goes on')"
    told = [sys.executable, "-c", code]
    for words, goes_on in (([str(os.getpid())], True), ([], True), (["1"], False)):
        done = subprocess.run([*told, *words], capture_output=True, text=True, timeout=60, check=False)
        assert goes_on == ("goes on" in done.stdout) == (done.returncode == 0)
    child = f"from gateway.parent import tie_as_told; tie_as_told([%r])\n{DEAF}{SAY}import time; time.sleep(60)"
    code = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r} % str(os.getpid())])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    assert ended(pid, 5)


def test_a_stop_is_bounded() -> None:
    """Who has said when it will have ended has, with a thread that is waited for, deaf to all else."""
    code = f"{DEAF}{THREAD}from gateway.parent import end_within; end_within(0.3)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == -signal.SIGALRM


def test_leaving_waits_for_no_thread() -> None:
    """What was printed is out; what a thread still does is left."""
    code = f"{THREAD}from gateway.parent import leave; print('all said', end=''); leave(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (3, "all said") == (done.returncode, done.stdout)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Stack]:
    """A gateway in whose processes a thread runs that does not end, as one that builds a library would."""
    modules, folder = tmp_path / "modules", tmp_path / "gw"
    modules.mkdir()
    modules.joinpath("sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "if {'gateway.worker', 'gateway.control'} & set(sys.orig_argv):\n"
        "    threading.Thread(target=time.sleep, args=(600,)).start()\n"
    )
    folder.mkdir()
    stack = start(folder, tiny(folder), PYTHONPATH=str(modules), GATEWAY_WORKERS="2")
    yield stack
    stop(stack)


def test_a_gateway_with_busy_threads_stops_in_order(busy: Stack) -> None:
    """No process waits for its threads, and none has to be killed."""
    began = time.monotonic()
    stop(busy)
    assert (0, True) == (busy.process.returncode, time.monotonic() - began < 12)
    assert "when it was stopped" not in busy.log()
    assert "did not stop" not in busy.log()
    wait_until_gone(busy.folder)


def test_kill_9_with_a_stopped_worker_and_a_busy_control_process_leaves_nothing(busy: Stack) -> None:
    """Neither of them could have heeded SIGTERM; engines and state end, too."""
    os.kill(pid_of(busy, "gateway.worker"), signal.SIGSTOP)
    busy.process.kill()
    busy.process.wait()
    wait_until_gone(busy.folder)
