"""The bytes of a segment: frames, each chained to the one before.

A frame is ``u32 length (big-endian) | 32 bytes hash | body``, and ``hash = sha256(hash of the frame before | body)``.
So whoever knows the hash of one frame knows that none before it was changed, added or taken out.
"""

import struct
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

GENESIS = bytes(32)
"""The hash before the first record of a writer."""
HEADER = struct.Struct(">I32s")
LONGEST = 1 << 28
"""Bytes of one body; a length above is no length. No request's text comes near (`limits.body_bytes`)."""
READ_BYTES = 1 << 20


def link(before: bytes, body: bytes) -> bytes:
    """Return the hash of a record that follows the one with hash *before*."""
    return sha256(before + body).digest()


def framed(before: bytes, bodies: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return the frames of *bodies*, and the hash of the last."""
    parts: list[bytes] = []
    for body in bodies:
        before = sha256(before + body).digest()
        parts += (HEADER.pack(len(body), before), body)
    return b"".join(parts), before


def frames(file: Path, offset: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the end, hash and body of each whole frame from *offset* on, hashes unchecked.

    Ends at the first bytes that are none, be they the tail of a file that grows. Memory is one frame and one block.
    """
    with file.open("rb", buffering=READ_BYTES) as source:
        source.seek(offset)
        while len(header := source.read(HEADER.size)) == HEADER.size:
            size, stored = HEADER.unpack(header)
            if not 0 < size <= LONGEST:
                return
            if size > READ_BYTES and offset + HEADER.size + size > file.stat().st_size:
                return  # before so much memory is asked for
            body = source.read(size)
            if len(body) < size:
                return
            offset += HEADER.size + size
            yield offset, stored, body
