"""Engines of deployments that are gone."""

import os
import signal
from pathlib import Path

from backends.engines.family import Command
from backends.leftovers import end_all, leftovers
from backends.process import Outlive, Process
from tests.backends.running import alive, children


async def left(folder: Path, name: str) -> Process:
    """Return a process that its owner has left running."""
    process = Process(folder / name, 1, outlive=Outlive(folder / "house", 0))
    await process.start(Command(("/bin/sh", "-c", "sleep 60 & wait")))
    process.let_go()
    return process


async def test_what_nobody_wants_is_ended(tmp_path: Path) -> None:
    """What is wanted goes on; what is not is ended, with what a killed shim has left."""
    wanted, gone, killed = [await left(tmp_path, name) for name in ("wanted", "gone", "killed")]
    assert [one.pid is not None for one in (wanted, gone, killed)] == [True] * 3
    engines = [children(one.pid or 0)[0] for one in (wanted, gone, killed)]
    os.kill(killed.pid or 0, signal.SIGKILL)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "process.json").write_text("{}")
    found = leftovers(tmp_path, {"wanted"})
    assert [path.name for path in found] == ["gone", "killed"]
    await end_all(found)
    assert [True, False, False] == [alive(pid) for pid in engines]
    os.waitpid(gone.pid or 0, 0)
    os.waitpid(killed.pid or 0, 0)
    assert [path.name for path in leftovers(tmp_path, {"wanted"})] == ["killed"]  # nobody saw how it ended
    again = Process(tmp_path / "wanted", 1, outlive=wanted.outlive)
    record = again.find()
    assert record is not None
    assert await again.adopt(record)
    await again.stop()
    os.waitpid(wanted.pid or 0, 0)
