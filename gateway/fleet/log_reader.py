"""An engine's log: a part of it, or all that is written from now on."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

PART_BYTES = 256 * 1024
"""Read at once."""
TAIL_BYTES = 64 * 1024
"""From where a log is read when nobody says from where."""
LOOK_SECONDS = 0.25
PING_SECONDS = 15.0
FOLLOW_SECONDS = 3600.0
"""After which a follower has to come again, from where it was."""


class Part(NamedTuple):
    """Some of a log."""

    begin: int
    """Offset in bytes of the first one."""
    data: bytes
    size: int
    """Of the whole log."""

    @property
    def end(self) -> int:
        """The offset to go on from."""
        return self.begin + len(self.data)


def part(log: Path, offset: int | None) -> Part:
    """Return what stands in *log* from *offset* on, `PART_BYTES` at most; None: its end, from the begin of a line.

    An offset behind the end is one of a log that was begun anew: what is there now is read from its begin.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - TAIL_BYTES) if offset is None else offset if offset <= size else 0
            file.seek(begin)
            data = file.read(PART_BYTES)
    except FileNotFoundError:
        return Part(0, b"", 0)
    if offset is None and begin > 0:
        cut = data.find(b"\n") + 1
        return Part(begin + cut, data[cut:], size)
    return Part(begin, data, size)


async def followed(log: Path, offset: int | None, seconds: float = FOLLOW_SECONDS) -> AsyncIterator[bytes]:
    """Yield server-sent events: each whole line as `data`, the offset behind it as `id`; a comment in silence.

    A line that is longer than `PART_BYTES` comes in pieces. Ends after *seconds*.
    """
    until, said = time.monotonic() + seconds, time.monotonic()
    while (now := time.monotonic()) < until:
        found = await asyncio.to_thread(part, log, offset)
        offset = found.begin
        whole = found.data[: found.data.rfind(b"\n") + 1] or (found.data if len(found.data) == PART_BYTES else b"")
        if whole:
            yield b"".join(_events(whole, found.begin))
            offset, said = found.begin + len(whole), now
            continue
        if now - said >= PING_SECONDS:
            yield b": ping\n\n"
            said = now
        await asyncio.sleep(LOOK_SECONDS)


def _events(lines: bytes, offset: int) -> list[bytes]:
    events = []
    for line in lines.splitlines(keepends=True):
        offset += len(line)
        text = line.rstrip(b"\r\n").decode("utf-8", "replace")
        events.append(f"id: {offset}\ndata: {text}\n\n".encode())
    return events
