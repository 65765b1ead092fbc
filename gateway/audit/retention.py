"""Drops what is older than it has to be kept: whole segments, with a signed head of where they ended."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.audit.chain import frames
from gateway.audit.entries import Admin, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.heads import HEADS, Signer, Unsigned, writers
from gateway.audit.segments import Cursor, Head, began, segment, segments
from gateway.audit.writer import SHANGHAI, Writer

log = logging.getLogger(__name__)

DROPPED = "dropped.json"
DAY_SECONDS = 86_400.0
EVERY_SECONDS = 3600.0


class Drop(NamedTuple):
    """What was dropped of one writer."""

    writer: str
    segments: int
    bytes: int
    head: Head
    """Of the last record dropped."""


def dropped(directory: Path, signing: Signer | None) -> Head | None:
    """Return the last record that retention dropped of a writer. Raises `Unsigned`; without a signer it is believed."""
    try:
        data = (directory / DROPPED).read_bytes()
    except FileNotFoundError:
        return None
    document = signing.open(data) if signing is not None else msgspec.json.decode(data)
    if document["writer"] != directory.name:
        raise Unsigned("it is another writer's")
    return Head(document["seq"], bytes.fromhex(document["hash"]))


def drop(directory: Path, before: float, signing: Signer) -> Drop | None:
    """Drop the segments of a writer whose records are all older than *before*; never the newest. Raises `OSError`.

    A segment is over when the next one begins, so the next one's begin says how old it is.
    """
    firsts = segments(directory)
    old = 0
    while old + 1 < len(firsts) and began(directory, firsts[old + 1]) < before:
        old += 1
    if not old:
        return None
    head = _end(directory, firsts[old - 1], firsts[old])
    document = {"writer": directory.name, "seq": head.seq, "hash": head.hash.hex(), "at": int(before * 1000)}
    _put(directory / DROPPED, signing.seal(document))  # first: a crash leaves too much, never a hole
    freed = 0
    for first in firsts[:old]:
        for path in (segment(directory, first), *directory.glob(f"{first:016d}-*.torn")):
            freed += path.stat().st_size
            path.unlink()
    return Drop(directory.name, old, freed, head)


class Retention:
    """Keeps the log to its age; runs in the control process, whose *writer* puts on record what was dropped."""

    def __init__(
        self, root: Path, days: int, signing: Signer, writer: Writer, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = root
        self._days = days
        self._signer = signing
        self._writer = writer
        self._clock = clock

    async def run(self) -> None:
        """Drop once an hour until cancelled."""
        while True:
            try:
                for one in await asyncio.to_thread(self.step):
                    self.record(one)
            except (OSError, AuditUnavailable) as error:
                log.error("audit: old records cannot be dropped: %s", error)  # noqa: TRY400 - its place says nothing
            await asyncio.sleep(EVERY_SECONDS)

    def step(self) -> list[Drop]:
        """Drop what is too old, of all writers; heads go a day later. Raises `OSError`."""
        before = self._clock() - self._days * DAY_SECONDS
        found = [one for path in writers(self._root) if (one := drop(path, before, self._signer)) is not None]
        oldest = datetime.fromtimestamp(before - DAY_SECONDS, UTC).astimezone(SHANGHAI).date().isoformat()
        for path in sorted((self._root / HEADS).glob("*.jsonl"))[:-1]:  # the next line names the newest one
            if path.stem < oldest:
                path.unlink()
        return found

    def record(self, one: Drop) -> None:
        """Put on record what was dropped; the event loop's. Raises `AuditUnavailable`."""
        log.info("audit: %d segments of %s, up to record %d, are dropped", one.segments, one.writer, one.head.seq)
        details = {"segments": one.segments, "bytes": one.bytes, "seq": one.head.seq, "hash": one.head.hash.hex()}
        at = int(self._clock() * 1000)
        record = Admin(at=at, admin="gateway", action="audit.drop", target=one.writer, details=details)
        self._writer.append(encode(record))


def start(directory: Path, signing: Signer | None) -> Cursor:
    """Return the cursor before the first record that is still there. Raises `Unsigned`."""
    head = dropped(directory, signing)
    first = next((first for first in segments(directory) if head is not None and first == head.seq + 1), None)
    if head is None or first is None:
        return Cursor()
    return Cursor(first, 0, head.seq, head.hash)


def _end(directory: Path, first: int, following: int) -> Head:
    """Return the last record of a segment, by walking over its frames."""
    seq, last = first - 1, b""
    for _, stored, _ in frames(segment(directory, first)):
        if seq + 1 >= following:
            break
        seq, last = seq + 1, stored
    if seq + 1 != following:
        raise OSError(f"{segment(directory, first)} ends at record {seq}, before the next begins; it stays")
    return Head(seq, last)


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
