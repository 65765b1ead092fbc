"""A connection's reads, wherever they are cut: with and without the short way past the HTTP parser."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.connection import HIGH_WATER, Connection
from backends.endpoint import Endpoint

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ENDPOINT = Endpoint(replica="m#0", model="m", engine="vllm", served_name="m", host="127.0.0.1", port=1)


def framed(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


class Transport(asyncio.Transport):
    """Takes everything; knows whether it was dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def is_closing(self) -> bool:
        return self.dropped

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: Any) -> None:
        del data

    def abort(self) -> None:
        self.dropped = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Taken:
    """A taker that keeps what it is given."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.as_chunks: list[bytes] = []

    def __call__(self, body: bytes, chunk: bytes) -> bool:
        self.bodies.append(body)
        if chunk:
            assert framed(body) == chunk
            self.as_chunks.append(chunk)
        return True


def asked() -> Connection:
    """Return a connection on which a request has been sent and a taker waits."""
    upstream = cast("Any", SimpleNamespace(loop=None, waiting=set(), add_waiter=None, forget=lambda _: None))
    connection = Connection(upstream, ENDPOINT)
    connection.connection_made(Transport())
    connection.begin(b"POST / HTTP/1.1\r\n\r\n")
    connection.taker = Taken()
    return connection


def taken(connection: Connection) -> Taken:
    return cast("Taken", connection.taker)


bodies = st.lists(
    st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from([b"\r\n", b"1\r\na\r\n", b"0\r\n\r\n"]))
)


@given(bodies, st.lists(st.integers(0, 400)), st.booleans())
def test_no_cut_of_the_reads_changes_the_body(parts: list[bytes], cuts: list[int], by_chunk: bool) -> None:
    """One chunk a read, several, half of one: the taker gets each body byte once, and the end is seen."""
    pieces = [HEAD, *map(framed, parts), b"0\r\n\r\n"]
    stream = b"".join(pieces)
    if by_chunk:
        places = [sum(map(len, pieces[:i])) for i in range(1, len(pieces))]
        cuts = sorted({*places, *(cut for cut in cuts[:2] if cut < len(stream))})
    else:
        cuts = sorted({cut for cut in cuts if cut < len(stream)})
    connection = asked()
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin < end:
            connection.data_received(stream[begin:end])
    assert b"".join(parts) == b"".join(taken(connection).bodies)
    assert connection.complete and connection.reusable and connection.failure is None


def test_a_chunk_a_read_passes_by_the_parser() -> None:
    """Reads of one chunk each are handed on with their framing."""
    connection = asked()
    connection.data_received(HEAD + framed(b"first"))
    for body in (b"second", b"third"):
        connection.data_received(framed(body))
    assert [b"first", b"second", b"third"] == taken(connection).bodies
    assert [framed(b"second"), framed(b"third")] == taken(connection).as_chunks


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (b"", b"looks like one"),
        (b"9", b"looks like one\r\n"),
        (b"18\r\nabc", b"abce\r\nlooks like one\r\n"),
        (b"3\r\nabc", None),
        (b"3\r\nabc\r", None),
    ],
)
def test_what_looks_like_a_chunk_in_the_middle_of_one_is_none(before: bytes, expected: bytes | None) -> None:
    """Bytes that look like a chunk pass the parser by only where a chunk may begin; None: it breaks the framing."""
    connection = asked()
    connection.data_received(HEAD + before)
    connection.data_received(framed(b"looks like one"))
    assert (expected is None) == (connection.failure is not None)
    assert expected in {None, b"".join(taken(connection).bodies)}


def test_after_the_end_nothing_is_taken() -> None:
    """A chunk behind the last one ends the connection; its bytes reach nobody."""
    connection = asked()
    connection.data_received(HEAD + framed(b"all"))
    connection.data_received(b"0\r\n\r\n")
    connection.data_received(framed(b"more"))
    assert [b"all"] == taken(connection).bodies
    assert cast("Transport", connection.transport).dropped


def test_unread_bytes_are_bounded() -> None:
    """With no taker an engine is read up to the high-water mark; the rest waits in its socket."""
    connection = asked()
    connection.taker = None
    connection.data_received(HEAD)
    while not connection.paused:
        connection.data_received(framed(b"x" * 8000))
    assert connection.size < HIGH_WATER + 8001
