"""The shim, with real processes."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
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
        assert process.wait(60) == status
    assert how_it_ended(tmp_path) == ended


def test_sigterm_reaches_the_whole_group(tmp_path: Path) -> None:
    """SIGTERM lets the engine end in its own way, and reaches the processes it started."""
    script = "trap 'echo bye >said; exit 0' TERM; sleep 60 & echo $$ $! >pids; wait"
    with start(tmp_path, script) as process:
        pids = numbers(tmp_path / "pids", 2)
        process.terminate()
        assert process.wait(60) == 0
    assert (tmp_path / "said").read_text() == "bye\n"
    assert not any(alive(pid) for pid in pids)


def test_sigkill_after_the_grace_time(tmp_path: Path) -> None:
    """An engine that does not heed SIGTERM is killed when its grace time is over."""
    script = "trap '' TERM; echo $$ >pids; while :; do sleep 0.05; done"
    with start(tmp_path, script, "--grace", "0.2") as process:
        numbers(tmp_path / "pids", 1)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGKILL
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
            process.wait(60)
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
        assert process.wait(60) == 128 + signal.SIGKILL
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
        assert process.wait(60) == 1
    assert not (tmp_path / "started").exists()
    assert not (tmp_path / "exit.json").exists()


def test_no_such_program(tmp_path: Path) -> None:
    """A program that is not there is the end with 127 and a line that names it."""
    argv = [*INTERPRETER, "--run-dir", str(tmp_path), "--", "no-such-engine"]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 127
    assert done.stderr == b"cannot run no-such-engine: No such file or directory\n"


def test_signals_of_the_engine_are_as_usual(tmp_path: Path) -> None:
    """The engine inherits neither the shim's blocked signals nor Python's ignored ones."""
    with start(tmp_path, "grep -E 'SigBlk|SigIgn' /proc/self/status >signals") as process:
        assert process.wait(60) == 0
    ordinary = (1 << 31) - 1  # 32 and above are glibc's own, and whoever started the tests may have ignored them
    python = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)
    [ours] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn")]
    born = int(ours.split()[1], 16) & ordinary & ~python  # by nohup, or by a shell that put the tests in the background
    masks = [int(line.split()[1], 16) & ordinary for line in (tmp_path / "signals").read_text().splitlines()]
    assert masks == [0, born]


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
    assert subprocess.run(argv, timeout=60, check=False).returncode == 4


def hold(path: Path) -> int:
    """Hold a lock as an owner does; closing the returned file gives it back."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_an_orphan_lives_until_its_time_is_over(tmp_path: Path) -> None:
    """With its owner killed an engine goes on, and ends when nobody has come back for so long."""
    options = ("--orphan", "2", "--house", str(tmp_path / "house"))
    argv = [*INTERPRETER, "--run-dir", str(tmp_path), *options, "--", "/bin/sh", "-c", "echo $$ >pids; exec sleep 60"]
    code = f"import subprocess; subprocess.Popen({argv!r}, start_new_session=True).wait()"
    owned = hold(tmp_path / "owner")
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as owner:
        pid = numbers(tmp_path / "pids", 1)[0]
        owner.kill()
    time.sleep(3)
    assert alive(pid)
    os.close(owned)
    ended_after = time.monotonic()
    wait_until(lambda: not alive(pid))
    assert time.monotonic() - ended_after > 1
    wait_until((tmp_path / "exit.json").exists)
    assert how_it_ended(tmp_path) == (None, 15)


def test_who_is_an_orphan(tmp_path: Path) -> None:
    """Left alone for ever, for some time, passed over by a gateway that is back, and adopted in time."""
    now = 0.0
    patient, bounded = (shim.Orphan(str(tmp_path), str(tmp_path / "house"), s, lambda: now) for s in (0, 100))

    def given_up(moment: float) -> tuple[bool, bool]:
        nonlocal now
        now = moment
        return patient.given_up(), bounded.given_up()

    said = [given_up(moment) for moment in (0, 99, 100, 1000)]
    assert said == [(False, False), (False, False), (False, True), (False, True)]
    house = hold(tmp_path / "house")
    said = [given_up(moment) for moment in (2000, 2029, 2030)]
    assert said == [(False, False), (False, False), (True, True)]
    owned = hold(tmp_path / "owner")
    assert given_up(2031) == (False, False)
    os.close(owned)
    said = [given_up(moment) for moment in (2060, 2089, 2090)]
    assert said == [(False, False), (False, False), (True, True)]
    os.close(house)


def test_two_engines_do_not_share_a_run_directory(tmp_path: Path) -> None:
    """A second shim starts nothing."""
    with start(tmp_path, "echo $$ >pids; exec sleep 60") as process:
        numbers(tmp_path / "pids", 1)
        with start(tmp_path, "touch started") as second:
            assert second.wait(60) == 1
        process.terminate()
    assert "another engine runs in" in (tmp_path / "log").read_text()
    assert not (tmp_path / "started").exists()


def test_the_record(tmp_path: Path) -> None:
    """Who comes later can tell both processes from all others, before the engine has done anything."""
    with start(tmp_path, "cp process.json seen; exec sleep 60", "--about", '{"port": 1}') as process:
        wait_until((tmp_path / "process.json").exists)
        record = json.loads((tmp_path / "process.json").read_text())
        engine = children(process.pid)[0]
        wait_until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").stat().st_size > 0)
        assert json.loads((tmp_path / "seen").read_text()) == record
        assert record["engine"] == {"pid": engine, "started": shim.start_time(engine)}
        assert (record["shim"]["pid"], record["shim"]["started"]) == (process.pid, shim.start_time(process.pid))
        assert record["shim"]["argv"][-1] == "cp process.json seen; exec sleep 60"
        assert (record["version"], record["boot"], record["about"]) == (1, shim.boot(), {"port": 1})
        process.terminate()


def test_the_log_is_rotated_while_the_engine_runs(tmp_path: Path) -> None:
    """A log that grows is cut; what was in it is in the older one, and the engine goes on in the same file."""
    script = "i=0; while [ $i -lt 300 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); sleep 0.01; done"
    argv = [*INTERPRETER, "--run-dir", str(tmp_path), "--log-bytes", "2000", "--", "/bin/sh", "-c", script]
    log = tmp_path / "engine.log"
    with log.open("ab") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        assert process.wait(30) == 0
    newer, older = log.read_text(), (tmp_path / "engine.log.1").read_text()
    assert newer.splitlines()[-1].startswith("line-299-")
    assert "\0" not in newer
    assert 0 < len(older) < 20_000
    assert len(newer) < 20_000
    following = int(older.splitlines()[-1].split("-")[1])
    assert int(newer.splitlines()[1].split("-")[1]) - following <= 3
