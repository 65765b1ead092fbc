"""The shim, with real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends import shim
from tests.backends.running import alive, children, numbers, wait_until

INTERPRETER = [sys.executable, "-I", "-S", shim.__file__]


def start(run_dir: Path, script: str, *options: str) -> "subprocess.Popen[bytes]":
    """Run *script*, a shell's, under a shim."""
    argv = [*INTERPRETER, "--run-dir", str(run_dir), *options, "--", "/bin/sh", "-c", script]
    with (run_dir / "log").open("ab") as log:
        return subprocess.Popen(argv, cwd=run_dir, stdout=log, stderr=log)


def how_it_ended(run_dir: Path) -> tuple[int | None, int | None]:
    document = json.loads((run_dir / "exit.json").read_text())
    assert document["ended_at"] > 1.7e9
    return document["code"], document["signal"]


@pytest.mark.parametrize(
    ("script", "status", "ended"),
    [("exit 0", 0, (0, None)), ("exit 3", 3, (3, None)), ("kill -SEGV $$", 139, (None, 11))],
)
def test_status(tmp_path: Path, script: str, status: int, ended: tuple[int | None, int | None]) -> None:
    """The engine's exit status is the shim's, and stands in exit.json."""
    with start(tmp_path, script) as process:
        assert process.wait(10) == status
    assert how_it_ended(tmp_path) == ended


def test_sigterm_reaches_the_whole_group(tmp_path: Path) -> None:
    """SIGTERM lets the engine end in its own way, and reaches the processes it started."""
    script = "trap 'echo bye >said; exit 0' TERM; sleep 60 & echo $$ $! >pids; wait"
    with start(tmp_path, script) as process:
        pids = numbers(tmp_path / "pids", 2)
        process.terminate()
        assert process.wait(10) == 0
    assert (tmp_path / "said").read_text() == "bye\n"
    assert not any(alive(pid) for pid in pids)


def test_sigkill_after_the_grace_time(tmp_path: Path) -> None:
    """An engine that does not heed SIGTERM is killed when its grace time is over."""
    script = "trap '' TERM; echo $$ >pids; while :; do sleep 0.05; done"
    with start(tmp_path, script, "--grace", "0.2") as process:
        numbers(tmp_path / "pids", 1)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGKILL
    assert how_it_ended(tmp_path) == (None, 9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_at_once(tmp_path: Path, number: int) -> None:
    """A shim that is told to end in its first milliseconds leaves no engine behind."""
    for _ in range(5):
        (tmp_path / "pids").unlink(missing_ok=True)
        with start(tmp_path, "echo $$ >pids; exec sleep 60") as process:
            wait_until(lambda: bool(children(process.pid)) or process.poll() is not None)
            engines = children(process.pid)
            process.send_signal(number)
            process.wait(10)
        assert not any(alive(pid) for pid in engines)


def test_the_owner_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the owner ends the engine, its children and the shim."""
    script = "sleep 60 & echo $$ $! >pids; wait"
    argv = [*INTERPRETER, "--run-dir", str(tmp_path), "--", "/bin/sh", "-c", script]
    code = f"import subprocess; subprocess.Popen({argv!r}, start_new_session=True).wait()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as owner:
        pids = [*numbers(tmp_path / "pids", 2), *children(owner.pid)]
        assert all(alive(pid) for pid in pids)
        owner.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids))
    assert how_it_ended(tmp_path) == (None, 15)


def test_the_engine_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the engine's first process ends its orphans, in its group or in a session of their own."""
    script = "sleep 60 & echo $! >>pids; setsid sh -c 'echo $$ >>pids; exec sleep 60' & echo $$ >>pids; wait"
    with start(tmp_path, script) as process:
        pids = numbers(tmp_path / "pids", 3)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        assert process.wait(10) == 128 + signal.SIGKILL
    assert not any(alive(pid) for pid in pids)
    assert how_it_ended(tmp_path) == (None, 9)


def test_the_shim_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the shim itself still ends the engine."""
    with start(tmp_path, "echo $$ >pids; exec sleep 60") as process:
        engine = numbers(tmp_path / "pids", 1)[0]
        process.kill()
    wait_until(lambda: not alive(engine))


def test_the_owner_was_gone_before(tmp_path: Path) -> None:
    """A shim whose owner ended before it could be bound to it starts nothing."""
    with start(tmp_path, "touch started", "--owner", "1") as process:
        assert process.wait(10) == 1
    assert not (tmp_path / "started").exists()
    assert not (tmp_path / "exit.json").exists()


def test_no_such_program(tmp_path: Path) -> None:
    """A program that is not there is the end with 127 and a line that names it."""
    argv = [*INTERPRETER, "--run-dir", str(tmp_path), "--", "no-such-engine"]
    done = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    assert done.returncode == 127
    assert done.stderr == b"cannot run no-such-engine: No such file or directory\n"


def test_signals_of_the_engine_are_as_usual(tmp_path: Path) -> None:
    """The engine inherits neither the shim's blocked signals nor Python's ignored ones."""
    with start(tmp_path, "grep -E 'SigBlk|SigIgn' /proc/self/status >signals") as process:
        assert process.wait(10) == 0
    ordinary = (1 << 31) - 1  # 32 and above are glibc's own, and whoever started the tests may have ignored them
    masks = [int(line.split()[1], 16) & ordinary for line in (tmp_path / "signals").read_text().splitlines()]
    assert masks == [0, 0]


def test_small(tmp_path: Path) -> None:
    """A shim needs less than 12 MB: one runs beside every engine."""
    with start(tmp_path, "echo $$ >pids; exec sleep 60") as process:
        numbers(tmp_path / "pids", 1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    assert kilobytes < 12 * 1024


def test_also_runs_as_a_module(tmp_path: Path) -> None:
    """`python -m backends.shim` is the same program."""
    argv = [sys.executable, "-m", "backends.shim", "--run-dir", str(tmp_path), "--", "/bin/sh", "-c", "exit 4"]
    assert subprocess.run(argv, timeout=10, check=False).returncode == 4
