"""Engine processes: log, status, end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends import process as process_module
from backends.engines.family import Command
from backends.process import Outlive, Process
from backends.record import About
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


async def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    """A log above its bound becomes the older one at the next start; a small one goes on."""
    process = Process(tmp_path, 1, log_bytes=10)
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


@pytest.fixture
def outlive(tmp_path: Path) -> Outlive:
    """Engines live on for ever; nobody is there who could adopt them."""
    return Outlive(tmp_path / "house", 0)


async def test_a_process_that_is_let_go_is_adopted(tmp_path: Path, outlive: Outlive) -> None:
    """Who adopts knows all that the first owner knew, and sees the exit status of what is no child of its own."""
    first, second = Process(tmp_path / "run", 1, outlive=outlive), Process(tmp_path / "run", 1, outlive=outlive)
    about = About("tiny#0", 4711, "abc")
    await first.start(shell("while [ ! -e end ]; do sleep 0.02; done; exit 7"), cwd=tmp_path, about=about)
    first.let_go()
    found = second.find()
    assert found is not None
    assert (found.about, found.shim.pid) == (about, first.pid)
    assert await second.adopt(found)
    assert (second.pid, second.record) == (first.pid, first.record)
    (tmp_path / "end").touch()
    assert await second.wait() == 7
    assert second.find() is None


async def test_one_owner(tmp_path: Path, outlive: Outlive, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody looks after an engine nobody else can, nor start one beside it."""
    monkeypatch.setattr(process_module, "OWNER_SECONDS", 0.1)
    first, second = Process(tmp_path, 1, outlive=outlive), Process(tmp_path, 1, outlive=outlive)
    await first.start(shell("exec sleep 60"))
    found = second.find()
    assert found is not None
    for attempt in (second.adopt(found), second.start(shell("exit 0"))):
        with pytest.raises(OSError, match="another process looks after"):
            await attempt
    await first.stop()
    assert not await second.adopt(found)


async def test_a_start_waits_for_the_engine_before(tmp_path: Path) -> None:
    """One that ends with its owner cannot be adopted, and is gone before the next one starts."""
    first, second = Process(tmp_path, 5), Process(tmp_path, 5)
    await first.start(shell("trap 'sleep 0.5; echo bye; exit 0' TERM; echo hello; sleep 60 & wait"))
    await eventually(lambda: first.tail() == ("hello",))
    first.let_go()
    assert second.find() is None
    assert first.pid is not None
    os.kill(first.pid, signal.SIGTERM)
    await second.start(shell("echo next"))
    await second.wait()
    assert second.tail() == ("hello", "bye", "next")
    os.waitpid(first.pid, 0)


async def test_a_record_that_does_not_match_is_a_strangers(tmp_path: Path, outlive: Outlive) -> None:
    """Another start time, command line, run of the machine or version: nothing is adopted, nothing is signalled."""
    process = Process(tmp_path, 1, outlive=outlive)
    await process.start(shell("exec sleep 60"))
    file = tmp_path / "process.json"
    record = json.loads(file.read_text())
    shim = record["shim"]
    changes = [
        {"shim": {**shim, "started": shim["started"] + 1}},
        {"shim": {**shim, "argv": ["sleep", "60"]}},
        {"boot": "another"},
        {"version": 99},
    ]
    for change in changes:
        file.write_text(json.dumps({**record, **change}))
        stranger = Process(tmp_path, 0.1, outlive=outlive)
        assert stranger.find() is None
        await stranger.stop()
        assert alive(shim["pid"])
    file.write_text(json.dumps({**record, "of a later version": 1}))
    assert Process(tmp_path, 1, outlive=outlive).find() is not None
    await process.stop()


@pytest.mark.parametrize("leader_too", [False, True])
async def test_what_a_killed_shim_leaves_is_ended(tmp_path: Path, outlive: Outlive, leader_too: bool) -> None:
    """Its group is ended by whoever looks after it next, leader or no leader, deaf to SIGTERM or not."""
    process = Process(tmp_path / "run", 0.3, outlive=outlive)
    await process.start(shell("trap '' TERM; sleep 60 & echo $$ $! >pids; while :; do sleep 1; done"), cwd=tmp_path)
    pids = numbers(tmp_path / "pids", 2)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    if leader_too:
        os.kill(pids[0], signal.SIGKILL)
    assert await process.wait() == 128 + signal.SIGKILL
    assert alive(pids[1])
    after = Process(tmp_path / "run", 0.3, outlive=outlive)
    assert after.find() is None
    await after.stop()
    assert not any(alive(pid) for pid in pids)


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
