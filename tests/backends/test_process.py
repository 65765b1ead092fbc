"""Engine processes: log, status, end."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from backends import process as process_module
from backends.engines.family import Command
from backends.process import Process
from tests.backends.running import alive, children, eventually, numbers, wait_until


def shell(script: str, **environment: str) -> Command:
    return Command(("/bin/sh", "-c", script), environment)


async def test_output_goes_to_the_log(tmp_path: Path) -> None:
    """Both outputs stand in the log in order, with what the environment adds."""
    process = Process(tmp_path / "run", 1)
    await process.start(shell('echo "one $WORD"; echo two >&2; exit 3', WORD="é"))
    assert await process.wait() == 3
    assert process.tail() == ("one é", "two")
    assert process.tail(1) == ("two",)


async def test_working_directory(tmp_path: Path) -> None:
    """An engine can be started in a directory of its own."""
    process = Process(tmp_path / "run", 1)
    await process.start(shell("pwd"), cwd=tmp_path)
    await process.wait()
    assert process.tail() == (str(tmp_path),)


async def test_stop_leaves_nothing(tmp_path: Path) -> None:
    """After stop neither the shim nor the engine nor its child is there."""
    process = Process(tmp_path, 1)
    await process.start(shell("sleep 60 & wait"))
    assert process.pid is not None
    shim = process.pid
    await eventually(lambda: any(children(child) for child in children(shim)))
    engine = children(shim)[0]
    pids = [shim, engine, *children(engine)]
    await process.stop()
    assert [pid for pid in pids if alive(pid)] == []
    await process.stop()


async def test_before_the_start(tmp_path: Path) -> None:
    """A process that was never started has no id, no log, and nothing to stop."""
    process = Process(tmp_path, 1)
    await process.stop()
    assert process.pid is None
    assert process.tail() == ()
    assert await process.wait() == 0


async def test_a_cancelled_start_can_be_stopped(tmp_path: Path) -> None:
    """Whoever gives up during the start still holds the process and can end it."""
    process = Process(tmp_path, 1)
    task = asyncio.create_task(process.start(shell("exec sleep 60")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pid = process.pid
    assert pid is not None
    await process.stop()
    assert not alive(pid)


async def test_a_large_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log above its bound becomes the older one at the next start; a small one goes on."""
    monkeypatch.setattr(process_module, "LOG_BYTES", 10)
    process = Process(tmp_path, 1)
    for word in ("first", "second", "third"):
        await process.start(shell(f"echo {word}"))
        await process.wait()
    assert process.log.read_text() == "third\n"
    assert (tmp_path / "engine.log.1").read_text() == "first\nsecond\n"


async def test_tail_of_a_log_with_broken_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 do not keep the log from being read."""
    process = Process(tmp_path, 1)
    await process.start(Command((sys.executable, "-c", r"import sys; sys.stdout.buffer.write(b'a\xff\nb\n')")))
    await process.wait()
    assert process.tail() == ("a\ufffd", "b")


async def test_an_unwritable_run_directory(tmp_path: Path) -> None:
    """A run directory that cannot be made is an OSError at the start."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        await Process(tmp_path / "file" / "run", 1).start(shell("exit 0"))


OWNER = """
import asyncio, pathlib
from backends.engines.family import Command
from backends.process import Process

async def main():
    process = Process(pathlib.Path("run"), 1)
    await process.start(Command(("/bin/sh", "-c", "sleep 60 & echo $$ $! >../pids; wait")), pathlib.Path("run"))
    await asyncio.sleep(60)

LOOP.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_engine_ends_with_its_owner(tmp_path: Path, loop: str) -> None:
    """An owner that is killed leaves neither engine nor worker, whichever event loop started them."""
    (tmp_path / "run").mkdir()
    code = f"import {loop}" + OWNER.replace("LOOP", loop)
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) as owner:
        pids = numbers(tmp_path / "pids", 2)
        pids += children(owner.pid)
        owner.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids))
