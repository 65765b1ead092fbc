"""HTTP/1.1's chunked framing (RFC 9112, 7.1) where a read holds just one chunk, as a stream's reads nearly always do.

Such a read needs no parser, and can leave to a client as it came.
"""

LONGEST = 8192
"""Of a read that is looked at; longer ones are rare and take the parser's way."""


def _heads() -> tuple[bytes, ...]:
    """Return, by the length of a read, the size line with which it is one chunk; a NUL where no size fits."""
    heads = [b"\0"] * (LONGEST + 1)
    size = 1
    while (length := len(head := b"%x\r\n" % size) + size + 2) <= LONGEST:
        heads[length] = head
        size += 1
    return tuple(heads)


_HEADS = _heads()


def sole_chunk(data: bytes) -> bytes | None:
    """Return the body of *data* if it is exactly one chunk in its plainest spelling, else None.

    *data* must begin where a chunk may begin.
    """
    length = len(data)
    if length > LONGEST or data[-2:] != b"\r\n":
        return None
    head = _HEADS[length]
    return data[len(head) : -2] if data.startswith(head) else None
