"""Whose chain a process goes on with.

A writer is a slot of a machine, ``<node>-<kind><k>``: a process takes the first slot of its kind that nobody holds. So
there are as many chains as processes at a time, not one for each process that ever was.
"""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from gateway.audit.errors import AuditUnavailable

NODE = "node"
"""File with the random name of this machine's data directory."""
LOCK = "lock"


class Slot:
    """A writer that this process is, until `release` or its end; the kernel lets go of it whatever the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = directory.name
        self._lock = _locked(directory)

    def renew(self) -> None:
        """Take the same slot where its directory was removed. Raises `OSError`, also where another was quicker."""
        lock = _locked(self.directory)
        os.close(self._lock)
        self._lock = lock

    def gone(self) -> bool:
        """Tell whether the lock's file stands no more where it was made."""
        try:
            return not os.path.samestat((self.directory / LOCK).stat(), os.fstat(self._lock))
        except OSError:
            return True

    def release(self) -> None:
        """Let others have it."""
        os.close(self._lock)


def node(root: Path) -> str:
    """Return the name of the machine whose audit directory is *root*; make it the first time."""
    path = root / NODE
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("ascii").strip()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = root / f".{NODE}-{os.getpid()}"
    draft.write_text(secrets.token_hex(4), "ascii")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)  # whole or not at all, and the first one wins
    draft.unlink()
    return path.read_text("ascii").strip()


def take(root: Path, kind: str) -> Slot:
    """Return the first free slot of *kind* (``w``, ``control``, ``cli``). Raises `AuditUnavailable`."""
    try:
        name = node(root)
        k = 0
        while True:
            with contextlib.suppress(BlockingIOError):
                return Slot(root / f"{name}-{kind}{k}")
            k += 1
    except OSError as error:
        raise AuditUnavailable(str(error)) from error


def _locked(directory: Path) -> int:
    """Return a descriptor that holds the lock. Raises `BlockingIOError` where another process does."""
    directory.mkdir(mode=0o700, exist_ok=True, parents=True)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
