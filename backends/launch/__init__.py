"""What a replica asks of whatever starts its engine: `local` on this machine, `ray` on the nodes of a cluster."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from backends.engines.family import Command
from backends.record import About

T = TypeVar("T")


class Spot(NamedTuple):
    """Where an engine is to listen. Both are written on its command line."""

    host: str
    port: int


class Left(NamedTuple):
    """An engine that an owner before this one has left running, taken over."""

    spot: Spot
    fingerprint: str
    """Of the command that it was started with; see `record.fingerprint`."""
    name: str
    """How it is called in the log, such as ``pid 4711``."""


class Launcher(Protocol):
    """Starts one engine at a time, somewhere, and looks after it. Belongs to one event loop."""

    run_dir: Path
    log: Path
    """The engine's output, or a copy of it, on this machine."""
    pid: int | None
    """Process id of its shim on this machine; None: there is none."""

    @property
    def runs(self) -> bool:
        """Whether it looks after an engine now."""

    def is_there(self) -> bool:
        """Return whether something may run that an owner before this one has left; does not block."""

    async def take_over(self) -> Left | None:
        """Look after what an owner before this one has left; None: nothing of use. Raises OSError."""

    async def place(self, host: str, port: int | None, patience: float) -> Spot:
        """Return where an engine can listen: on *port*, or a free one for None.

        *host* is the deployment's. A port that somebody else has is waited for, *patience* seconds. Raises
        `StartFailed` where there is no place, and OSError.
        """

    async def start(self, command: Command, *, about: About) -> None:
        """Start the engine at the place that `place` gave. Raises OSError. Cancelled, it may have started."""

    async def is_taken(self, spot: Spot) -> bool:
        """Return whether somebody has that port now, whose engine has ended."""

    async def wait(self) -> int:
        """Return the exit status when the engine has ended; 128 + n for a signal n. Cancelling ends the wait only."""

    async def stop(self) -> None:
        """Have the engine end, and return when nothing of it is left, as far as it can be reached."""

    def let_go(self) -> None:
        """Leave the engine running, for somebody else to take over."""

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """Return the last *lines* of the log."""


async def end_or(engine: Launcher, watch: "Coroutine[Any, Any, T]") -> "int | T":
    """Return the exit status of *engine* when it ends, or what *watch* returns before."""
    ended = asyncio.create_task(engine.wait())
    watching = asyncio.create_task(watch)
    try:
        await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            return ended.result()
        return watching.result()
    finally:
        ended.cancel()
        watching.cancel()
        await asyncio.gather(ended, watching, return_exceptions=True)
