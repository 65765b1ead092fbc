"""Engines that run and that nobody looks after: their deployment has gone while their owner was away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

from backends import record
from backends.process import Process

log = logging.getLogger(__name__)


def leftovers(folder: Path, wanted: Collection[str] = ()) -> list[Path]:
    """Return the run directories in *folder* where something may still run, and whose names are not *wanted*."""
    dirs = [path.parent for path in sorted(folder.glob("*/process.json")) if path.parent.name not in wanted]
    return [run_dir for run_dir in dirs if record.read(run_dir) is not None and record.end(run_dir) is None]


async def nobody(replica: str) -> None:
    """Return at once: nobody has a request at *replica*."""
    del replica


async def end_all(run_dirs: Iterable[Path], drained: Callable[[str], Awaitable[None]] = nobody) -> None:
    """End what runs from *run_dirs*; return when it is gone. *drained* returns when a replica has no request any more.

    Also what a killed shim has left there. What does not match its record is a stranger's and not touched.
    """
    await asyncio.gather(*(_end(run_dir, drained) for run_dir in run_dirs))


async def _end(run_dir: Path, drained: Callable[[str], Awaitable[None]]) -> None:
    left = record.read(run_dir)
    if left is None:
        return
    process = Process(run_dir, left.grace_seconds)
    try:
        found = process.find()
        if found is not None and await process.adopt(found):
            log.warning("%s: nobody looks after its engine (pid %d), which is ended", run_dir, found.engine.pid)
            await drained(found.about.replica)
        await process.stop()
    except OSError as error:
        log.error("%s: its engine cannot be ended: %s", run_dir, error)  # noqa: TRY400 - whose fault it is
