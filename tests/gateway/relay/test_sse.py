import time

import pytest

from backends.errors import EngineBroken
from gateway.relay.sse import LONGEST_EVENT, EventSplitter

LIMIT = 1 << 20

STREAMS = {
    "plain": (b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    "several in one read with a comment": (b": ping\n\ndata: 1\n\n: x\ndata: 2\n\n", [b"1", b"2"]),
    "crlf": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
    "cr alone": (b"data: 1\r\rdata: 2\r\r", [b"1", b"2"]),
    "no blank after the colon": (b"data:1\n\n", [b"1"]),
    "named event and id": (b"event: message\nid: 7\nretry: 3\ndata: 1\n\n", [b"1"]),
    "several data lines": (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
    "more blank lines than needed": (b"\n\ndata: 1\n\n\n\n\ndata: 2\n\n", [b"1", b"2"]),
    "no last blank line": (b"data: 1\n\ndata: [DONE]", [b"1", b"[DONE]"]),
    "no last blank line, crlf": (b"data: 1\r\n\r\ndata: [DONE]\r\n", [b"1", b"[DONE]"]),
    "error line of older llama.cpp": (
        b'error: {"code":500,"message":"m"}\n\n',
        [b'{"error":{"code":500,"message":"m"}}'],
    ),
    "characters of several bytes": ("data: 审查网关😀\n\n".encode(), ["审查网关😀".encode()]),
    "a cr before each lf, twice": (b"data: 1\r\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
    "unknown fields only": (b"event: error\n\n", []),
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_two_way_split_gives_the_same_events(name: str) -> None:
    """Wherever a stream is cut in two reads, the events are the same."""
    raw, expected = STREAMS[name]
    for cut in range(len(raw) + 1):
        splitter = EventSplitter(LIMIT)
        assert expected == splitter.feed(raw[:cut]) + splitter.feed(raw[cut:]) + splitter.finish(), cut


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_gives_the_same_events(name: str) -> None:
    """A stream that comes byte by byte has the same events."""
    raw, expected = STREAMS[name]
    splitter = EventSplitter(LIMIT)
    found = [payload for i in range(len(raw)) for payload in splitter.feed(raw[i : i + 1])]
    assert expected == found + splitter.finish()


def test_an_event_above_the_limit_is_refused() -> None:
    """An engine that never ends its event cannot fill the memory."""
    splitter = EventSplitter(100)
    with pytest.raises(EngineBroken, match="more than 100 bytes"):
        splitter.feed(b"data: " + b"x" * 101)


@pytest.mark.parametrize("size", [1, 101, 1000])
def test_the_limit_holds_however_an_event_comes(size: int) -> None:
    """An event that ends in the read that brings it above the limit is refused, too, and one at it is not."""
    for length, fits in ((94, True), (95, False)):
        splitter, raw = EventSplitter(100), b"data: %b\n\n" % (b"x" * length)
        try:
            found = [payload for i in range(0, len(raw), size) for payload in splitter.feed(raw[i : i + size])]
        except EngineBroken:
            found = []
        assert fits == (found == [b"x" * length])


def test_comments_are_bounded() -> None:
    """One endless comment, or endless many and no event, are no stream; some between events are."""
    for comment in (b": " + b"x" * 200, b": ping\n\n" * 20):
        with pytest.raises(EngineBroken):
            EventSplitter(100).feed(comment)
    splitter = EventSplitter(100)
    for _ in range(50):
        assert [b"1"] == splitter.feed(b": ping\n\n") + splitter.feed(b"data: 1\n\n")


@pytest.mark.usefixtures("untraced")
def test_a_large_event_costs_what_its_bytes_cost() -> None:
    """An event in many reads is put together once: 64 times the reads took 4000 times as long."""
    splitter, piece = EventSplitter(1 << 30), b"x" * 64
    assert LONGEST_EVENT == splitter.limit
    began = time.process_time()
    splitter.feed(b"data: ")
    for _ in range((LONGEST_EVENT - 100) // len(piece)):
        splitter.feed(piece)
    [payload] = splitter.feed(b"\n\n")
    assert len(payload) > LONGEST_EVENT - 200
    assert time.process_time() - began < 2
    with pytest.raises(EngineBroken):
        splitter.feed(b"data: " + b"x" * LONGEST_EVENT)
