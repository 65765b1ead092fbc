import pytest

from backends.errors import EngineBroken
from gateway.relay.sse import EventSplitter

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
