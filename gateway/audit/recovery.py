"""Where a writer goes on: behind the last whole record that its predecessor left."""

import os
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.audit.chain import GENESIS, frames, link
from gateway.audit.entries import FORMAT, Segment, decode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.segments import segment, segments, settled

TORN = ".torn"


class Cut(NamedTuple):
    """What was cut off."""

    bytes: int
    sha256: str


class Resumed(NamedTuple):
    """The end of a chain."""

    file: int
    """First number of the segment to go on with; 0: none is there."""
    size: int
    seq: int
    hash: bytes
    began: int
    """When the segment was begun, Unix milliseconds."""
    cut: tuple[Cut, ...]


def resume(directory: Path) -> Resumed:
    """Find the end of the chain and cut off what is no whole record behind it.

    What is cut off stays in a file beside (``<segment>-<byte>.torn``): it may be more than the half record of a
    killed process, and is evidence then. Reads the last segment once. Raises `OSError` and `AuditUnavailable`.
    """
    cut: list[Cut] = []
    head = settled(directory)  # with the newest files gone the numbers go on behind it, so that the hole shows
    for first in reversed(segments(directory)):
        path = segment(directory, first)
        rows, end, last, began = _whole(path, directory.name)
        if end < path.stat().st_size:
            cut.append(_cut(path, end))
        if rows and (cut or head is None or head.seq < first + rows):
            return Resumed(first, end, first + rows - 1, last, began, tuple(cut))
        if rows:  # no number is used again
            break
        path.unlink()
    seq, last = head or (0, GENESIS)
    return Resumed(0, 0, seq, last, 0, tuple(cut))


def _whole(path: Path, writer: str) -> tuple[int, int, bytes, int]:
    """Return the number of whole records, their end, the last one's hash, and when the segment was begun.

    The first one's hash is believed: what it follows stands in another file, and comparing is `verify`'s task.
    """
    count, end, before, began = 0, 0, b"", 0
    for stop, stored, body in frames(path):
        if count == 0:
            opening = _opening(body)
            if opening is None or opening.writer != writer:
                break
            began = opening.at
        elif link(before, body) != stored:
            break
        count, end, before = count + 1, stop, stored
    return count, end, before, began


def _opening(body: bytes) -> Segment | None:
    try:
        record = decode(body)
    except msgspec.DecodeError:
        return None
    if not isinstance(record, Segment):
        return None
    if record.format > FORMAT:
        raise AuditUnavailable(f"its format {record.format} is that of a newer gateway")
    return record


def _cut(path: Path, end: int) -> Cut:
    with path.open("r+b") as file:
        file.seek(end)
        rest = file.read()
        if rest.strip(b"\0"):
            beside = path.with_name(f"{path.stem}-{end}{TORN}")
            beside.write_bytes(rest)
        file.truncate(end)
        os.fsync(file.fileno())
    return Cut(len(rest), sha256(rest).hexdigest())
