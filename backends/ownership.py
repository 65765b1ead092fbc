"""Locks that say who looks after what; the kernel frees them when a process ends, however that comes about."""

import asyncio
import fcntl
import os
from pathlib import Path

LOOK_SECONDS = 0.05


class Ownership:
    """A lock at *path*, held from `take` to `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    async def take(self, seconds: float) -> None:
        """Return once the lock is held; at once where it is already. Raises TimeoutError after *seconds*."""
        if self._file is not None:
            return
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(seconds):
                while not _locked(file):  # noqa: ASYNC110 - the kernel sends no event
                    await asyncio.sleep(LOOK_SECONDS)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Give it back; nothing happens where it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
