"""Processes that are known by more than their number: a number is used again, and a stranger is never signalled."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Self

import msgspec

from backends.shim import start_time

LOOK_SECONDS = 0.1
"""Between two looks whether a process has ended, where the kernel has no pidfd (before Linux 5.3)."""


class Identity(msgspec.Struct, frozen=True):
    """What tells a process from all others of this run of the machine."""

    pid: int
    started: int
    """Clock ticks from the machine's start to the process's; see proc(5), field 22 of stat."""
    argv: tuple[str, ...] = ()
    """None: it may call itself what it wants."""

    def runs(self) -> bool:
        """Return whether it runs: the same number, start and command line, and no zombie."""
        return start_time(self.pid) == self.started and self.argv in {(), command_line(self.pid)}


def command_line(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process; none of one that has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text("utf-8", "surrogateescape")
    except OSError:
        return ()
    return tuple(text.split("\0")[:-1])


class Handle:
    """A hold on one process, which stays that one: signals go to it or to nobody. Belongs to one event loop."""

    def __init__(self, identity: Identity, pidfd: int | None) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self._ended: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, identity: Identity) -> Self | None:
        """Return a hold on the process of *identity*; None: it has ended, and its number may be a stranger's."""
        pidfd = None
        with contextlib.suppress(OSError, AttributeError):  # no such process, or no such call
            pidfd = os.pidfd_open(identity.pid)
        if identity.runs():  # asked afterwards: what was opened is then what was asked about
            return cls(identity, pidfd)
        if pidfd is not None:
            os.close(pidfd)
        return None

    @classmethod
    def of_child(cls, pid: int) -> Self:
        """Return a hold on a child of this process that was not waited for: its number is its own until then."""
        pidfd = None
        with contextlib.suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(pid)
        return cls(Identity(pid, start_time(pid) or 0), pidfd)

    def runs(self) -> bool:
        """Return whether it runs."""
        return self.identity.runs()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self.identity.runs():
                os.kill(self.identity.pid, number)

    async def wait(self) -> None:
        """Return when it has ended. Cancelling ends the wait only."""
        if self._pidfd is None:
            while self.identity.runs():  # noqa: ASYNC110 - this kernel sends no event
                await asyncio.sleep(LOOK_SECONDS)
            return
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            loop.add_reader(self._pidfd, self._note_end)
        await asyncio.shield(self._ended)

    def close(self) -> None:
        """Let go of it; whoever waits for its end is not told any more."""
        if self._pidfd is None:
            return
        if self._ended is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            self._ended.cancel()
            self._ended = None
        os.close(self._pidfd)
        self._pidfd = None

    def _note_end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)


def members(session: int, leader: Identity) -> list[Identity]:
    """Return the living processes of the group that *leader* led in *session*: what a killed shim may have left."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        started = int(fields[19])
        ours = (int(fields[2]), int(fields[3])) == (leader.pid, session) and started >= leader.started
        if ours and fields[0] not in "ZX":
            found.append(Identity(int(entry.name), started))
    return found
