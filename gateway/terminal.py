"""What the shell shows and writes: other people's words, times with their zone, files."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.audit.writer import SHANGHAI
from gateway.key_fields import LATEST

DAY_SECONDS = 86_400
TOLD_SECONDS = 5
"""Between two lines about how far something is."""


def plain(text: str) -> str:
    """Return a text as a terminal may show it, in one line: people choose their own names and words."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def moment(at: float) -> str:
    """Return a Unix time as a person in Shanghai reads it."""
    within = min(max(at, 0), LATEST - DAY_SECONDS)  # beyond it no calendar goes
    return f"{datetime.fromtimestamp(within, UTC).astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S} +08:00"


class Progress:
    """Says on stderr how many of *total* texts are done, where that takes longer than `TOLD_SECONDS`."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self._clock = clock
        self._told = clock()

    def step(self) -> None:
        """Count one."""
        now = self._clock()
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            sys.stderr.write(f"{self.done} of {self.total} texts …\n")
        self.done += 1


async def write(parts: AsyncIterator[bytes], output: Path | None) -> int:
    """Write a file, or to the standard output where *output* is None; return its bytes. Raises `OSError`."""
    size = 0
    if output is None:
        async for part in parts:
            size += sys.stdout.buffer.write(part)
        sys.stdout.flush()
        return size
    with await asyncio.to_thread(output.open, "wb") as file:
        async for part in parts:
            size += await asyncio.to_thread(file.write, part)
    return size
