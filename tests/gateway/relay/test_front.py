"""The HTTP server, at the level of bytes: what a hostile or a clumsy client may send."""

import asyncio
import json

import pytest

from gateway.relay.front import PIPELINED
from tests.fakes import FakeEngine, Hang, Pause, answer, whole_chat
from tests.gateway.conftest import SECRET, Running, eventually

BODY = json.dumps({"model": "qwen", "messages": [{"role": "user", "content": "a"}]}).encode()
AUTH = f"authorization: Bearer {SECRET}\r\n".encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH


def whole(body: bytes = BODY, headers: bytes = b"") -> bytes:
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (POST, headers, len(body), body)


CLOSE = b"connection: close\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"


async def statuses(gateway: Running, data: bytes) -> list[int]:
    raw = await asyncio.wait_for(gateway.raw(data), 8)
    return [int(part[:3]) for part in raw.split(b"HTTP/1.1 ")[1:]]


BAD = {
    "no http": b"hello\r\n\r\n",
    "http 0.9": b"GET /\r\n\r\n",
    "both lengths": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "negative length": POST + b"content-length: -5\r\n\r\n",
    "length with a plus": POST + b"content-length: +5\r\n\r\nhello",
    "folded header": POST + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "bare cr": POST + b"x: a\rb\r\ncontent-length: 0\r\n\r\n",
    "blank before the colon": POST + b"content-length : 5\r\n\r\nhello",
    "nul in a header": POST + b"x: a\0b\r\n\r\n",
    "bad chunk size": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "unknown transfer coding": POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_http_is_a_400_and_the_end(gateway: Running, engine: FakeEngine, name: str) -> None:
    """What could smuggle a request is refused in the one shape, and nothing behind it is read."""
    raw = await asyncio.wait_for(gateway.raw(BAD[name] + whole()), 8)
    assert raw.startswith(b"HTTP/1.1 400 ")
    assert 1 == raw.count(b"HTTP/1.1")
    error = json.loads(raw.partition(b"\r\n\r\n")[2])["error"]
    assert ("gateway", "invalid_http") == (error["src"], error["code"])
    assert not engine.received


async def test_requests_on_one_connection(gateway: Running) -> None:
    """A connection is kept for the next request, and closed when the client says so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for _ in range(3):
        writer.write(whole())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert (head[:15], len(await reader.readexactly(length))) == (b"HTTP/1.1 200 OK", length)
    writer.write(whole(headers=CLOSE))
    assert b"connection: close" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_pipelined_requests_are_answered_in_order(gateway: Running, engine: FakeEngine) -> None:
    """More requests than are held at once come back in the order in which they were sent."""
    engine.script = lambda r: [Pause(0.01), *answer(whole_chat(r.json()["messages"][0]["content"]))]
    bodies = [
        json.dumps({"model": "qwen", "messages": [{"role": "user", "content": f"#{i}#"}]}).encode() for i in range(40)
    ]
    assert len(bodies) > PIPELINED
    data = b"".join(whole(body) for body in bodies[:-1]) + whole(bodies[-1], CLOSE)
    raw = await asyncio.wait_for(gateway.raw(data), 10)
    places = [raw.index(b"#%d#" % i) for i in range(40)]
    assert sorted(places) == places


async def test_chunked_bodies_are_bodies(gateway: Running, engine: FakeEngine) -> None:
    """A body may come in chunks, with a trailer."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(BODY[i : i + 9]), BODY[i : i + 9]) for i in range(0, len(BODY), 9))
    data = POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\nx: y\r\n\r\n"
    assert [200] == await statuses(gateway, data)
    assert engine.received[0].json()["messages"] == json.loads(BODY)["messages"]


async def test_expect_is_answered_first(gateway: Running) -> None:
    """A client that waits for 100 Continue gets it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(POST + CLOSE + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_an_offer_of_another_protocol_is_declined(gateway: Running) -> None:
    """Java's client offers h2c with its request; it is answered in HTTP/1.1."""
    headers = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n"
    chunked = POST + headers + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    for offer in (whole(headers=headers), chunked, GET + headers + b"\r\n"):
        assert [200, 200] == await statuses(gateway, offer + whole(headers=CLOSE))
    assert [400] == await statuses(gateway, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n")


async def test_http_1_0_gets_no_chunks(gateway: Running) -> None:
    """A stream for an HTTP/1.0 client ends with its connection."""
    body = json.dumps({**json.loads(BODY), "stream": True}).encode()
    data = whole(body).replace(b"HTTP/1.1", b"HTTP/1.0")
    raw = await asyncio.wait_for(gateway.raw(data), 5)
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_too_many_header_bytes_are_a_431(gateway: Running) -> None:
    """Headers are bounded, whether they end or not."""
    many = b"x: y\r\n" * 10_000
    assert [431] == await statuses(gateway, POST + many + b"content-length: 0\r\n\r\n")
    assert [431] == await statuses(gateway, POST + b"x: " + b"y" * 40_000)


async def test_too_large_a_body_is_a_400_that_can_be_read(gateway: Running) -> None:
    """A client that sends more than allowed reads why, although it was still sending."""
    big = b"x" * 150_000
    for data in (whole(big), POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(big), big)):
        raw = await asyncio.wait_for(gateway.raw(data), 8)
        assert b"body_too_large" in raw
        assert raw.startswith(b"HTTP/1.1 400 ")


async def test_a_large_body_without_a_key_is_not_taken_in(gateway: Running) -> None:
    """Nobody fills the memory without a key."""
    data = whole(b"x" * 80_000).replace(SECRET.encode(), b"sk-wrong")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data[: data.index(b"\r\n\r\n") + 4])
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_a_slow_sender_is_cut_off(gateway: Running) -> None:
    """A request that does not arrive in time is a 408."""
    assert [408] == await statuses(gateway, POST + b"content-length: 10\r\n\r\n{")
    assert [408] == await statuses(gateway, b"POST /v1/cha")


async def test_a_refused_client_hears_so_behind_its_answer(gateway: Running, engine: FakeEngine) -> None:
    """Bad bytes behind a good request do not garble its answer."""
    engine.script = lambda _: [Pause(0.1), *answer(whole_chat())]
    assert [200, 400] == await statuses(gateway, whole() + b"\x00\x00\r\n\r\n")


async def test_head_has_no_body(gateway: Running) -> None:
    """HEAD gets what GET gets, without the body."""
    raw = await asyncio.wait_for(gateway.raw(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), 5)
    assert raw.startswith(b"HTTP/1.1 200 OK")
    assert raw.endswith(b"\r\n\r\n")


async def test_a_stop_lets_running_turns_end(gateway: Running, engine: FakeEngine) -> None:
    """A connection that is told to stop ends with its answer, which says so."""
    engine.script = lambda _: [Pause(0.3), *answer(whole_chat())]
    pending = asyncio.create_task(statuses(gateway, whole()))
    await eventually(lambda: bool(engine.received))
    for connection in tuple(gateway.shared.connections):
        connection.stop()
    assert [200] == await pending


async def test_a_turn_that_is_ended_by_the_stop_says_so(gateway: Running, engine: FakeEngine) -> None:
    """A turn that outlives the drain time is told, and its engine is let go."""
    engine.script = lambda _: [Hang()]
    pending = asyncio.create_task(statuses(gateway, whole(headers=CLOSE)))
    await eventually(lambda: bool(engine.received))
    for task in tuple(gateway.shared.tasks):
        task.cancel()
    assert 503 in await pending
    await asyncio.wait_for(engine.left.wait(), 2)
