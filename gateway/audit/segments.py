"""The files of one writer, and how they are read: in order, on from a cursor, also while they grow.

A segment's name is the number of its first record, counted from 1 over all files of the writer; so each record has a
number without carrying it. A segment ends where the next one's number begins: what stands behind that was cut off.
"""

import os
import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.audit.chain import GENESIS, frames, link
from gateway.audit.entries import Segment, decode

SUFFIX = ".seg"
HEAD = "head"
"""File of a writer: how far its records are safe on the disk."""
_HEAD = struct.Struct(">Q32s")
HEAD_BYTES = _HEAD.size + 8
"""With what tells half a write."""


class Cursor(NamedTuple):
    """Behind which record reading goes on."""

    file: int = 0
    """Number of the first record of its segment; 0: before the first one."""
    offset: int = 0
    """Bytes into the segment, where the next record begins."""
    seq: int = 0
    """The record's number."""
    hash: bytes | None = GENESIS
    """The record's; None: unknown, then the next one is believed."""


class Row(NamedTuple):
    """One record as it is stored."""

    cursor: Cursor
    """Behind it; ``cursor.seq`` and ``cursor.hash`` are its own."""
    offset: int
    """Where its frame begins."""
    body: bytes


class Broken(Exception):
    """Record *seq* should stand at *offset* of the segment *file* and does not, or does not follow the one before."""

    def __init__(self, kind: str, seq: int, file: int, offset: int, body: bytes = b"") -> None:
        super().__init__(f"{kind}: record {seq}, segment {file}, byte {offset}")
        self.kind = kind
        """``chain`` or ``missing``."""
        self.seq = seq
        self.file = file
        self.offset = offset
        self.body = body


class Head(NamedTuple):
    """The number and hash of a record."""

    seq: int
    hash: bytes


def segment(directory: Path, first: int) -> Path:
    """Return the path of the segment that begins with record *first*."""
    return directory / f"{first:016d}{SUFFIX}"


def segments(directory: Path) -> list[int]:
    """Return the first numbers of a writer's segments, in order."""
    stems = (path.name.removesuffix(SUFFIX) for path in directory.glob(f"*{SUFFIX}"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def began(directory: Path, first: int) -> float:
    """Return when the segment of record *first* was begun, Unix time; one that cannot be read is never old."""
    for _, _, body in frames(segment(directory, first)):
        try:
            record = decode(body)
        except msgspec.DecodeError:
            break
        return record.at / 1000 if isinstance(record, Segment) else float("inf")
    return float("inf")


def read(directory: Path, after: Cursor = Cursor()) -> Iterator[Row]:  # noqa: B008 - it is frozen
    """Yield the records behind *after* that are written, hashes checked; call it again later for those to come.

    Raises `Broken`; behind a hole, ``Cursor(file, 0, file - 1, None)`` goes on with the segment *file*. Records that
    are written may still be lost by a power cut, but for those up to `settled`.
    """
    file, offset, seq, before = after
    firsts = segments(directory)
    while True:
        following = next((first for first in firsts if first > file), None)
        try:
            for end, stored, body in frames(segment(directory, file), offset) if file else ():
                if following is not None and seq + 1 >= following:
                    break
                if before is not None and link(before, body) != stored:
                    raise Broken("chain", seq + 1, file, offset, body)
                seq, before = seq + 1, stored
                yield Row(Cursor(file, end, seq, before), offset, body)
                offset = end
        except FileNotFoundError:
            raise Broken("missing", seq + 1, file, offset) from None
        if following is None:
            firsts = segments(directory)
            if not firsts or firsts[-1] <= file:
                return
            continue  # the file was completed before the next one began: what came meanwhile is read first
        if seq + 1 != following:
            raise Broken("missing", seq + 1, file or following, offset)
        file, offset = following, 0


def write_head(descriptor: int, head: Head) -> None:
    """Say that everything up to *head* is safe; *descriptor* is that of the writer's file `HEAD`."""
    data = _HEAD.pack(*head)
    os.pwrite(descriptor, data + sha256(data).digest()[:8], 0)


def settled(directory: Path) -> Head | None:
    """Return how far a writer's records are safe on the disk; None: nothing is known. Costs one small read."""
    for _ in range(3):  # a read beside a write may see half of each
        try:
            data = (directory / HEAD).read_bytes()
        except FileNotFoundError:
            return None
        if len(data) == HEAD_BYTES and sha256(data[:-8]).digest()[:8] == data[-8:]:
            return Head(*_HEAD.unpack(data[:-8]))
    return None
