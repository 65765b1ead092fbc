"""Reads that are exactly one HTTP chunk."""

import pytest

from backends.chunked import LONGEST, sole_chunk


def framed(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def test_each_size_is_known() -> None:
    """Whatever its length, a read of one chunk gives its body, up to the bound."""
    for size in range(1, LONGEST + 9):
        body = b"x" * size
        read = framed(body)
        assert (body if len(read) <= LONGEST else None) == sole_chunk(read)


@pytest.mark.parametrize(
    "read",
    [
        b"",
        b"\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\n\n",
        b"5\r\nhello\r",
        b"5\r\nhelloo\r\n",
        b"6\r\nhello\r\n",
        b"05\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"5\nhello\r\n",
        framed(b"hello") * 2,
        b"A\r\n0123456789\r\n",
        b"hello\r\n",
    ],
)
def test_anything_else_is_left_to_the_parser(read: bytes) -> None:
    """Empty, incomplete, longer, or spelled in another way."""
    assert sole_chunk(read) is None
