"""The HTTP server, at the level of bytes: what a hostile or a clumsy client may send."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import worker
from gateway.audit.record import Turn
from gateway.relay.front import PIPELINED, PIPELINED_AT_ONCE, TURNED_AWAY
from gateway.settings import Limits, Settings
from tests.fakes import SSE, FakeEngine, Hang, Pause, Send, answer, chunk, delta, event, head, whole_chat
from tests.gateway.conftest import SECRET, Running, endpoint, eventually, running

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
    "path in Chinese": "GET /v1/models/千问 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "query in Chinese": "GET /v1/models?q=千问 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
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


async def test_expect_is_not_answered_before_the_answer_before_it(gateway: Running, engine: FakeEngine) -> None:
    """A 100 Continue does not overtake."""
    engine.script = lambda _: [Pause(0.1), *answer(whole_chat())]
    assert [200, 200] == await statuses(gateway, whole() + whole(headers=CLOSE + b"expect: 100-continue\r\n"))


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
    for part in (POST, POST + b"content-length: 10\r\n\r\n{"):  # in one write with a whole one
        assert [200, 408] == await statuses(gateway, GET + b"\r\n" + part)


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


async def mute(gateway: Running) -> socket.socket:
    """Return the only connection: its client reads nothing by itself, and little is held between the two."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.connect(("127.0.0.1", gateway.port))
    client.setblocking(False)
    await eventually(lambda: len(gateway.shared.connections) == 1)
    (front,) = gateway.shared.connections
    front.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    return client


async def pushed(client: socket.socket, data: bytes) -> int:
    """Send *data* until all of it is sent, or nothing is taken for a while; return how many bytes were."""
    sent, idle = 0, 0
    while sent < len(data) and idle < 20:
        try:
            sent += client.send(data[sent : sent + 65_536])
            idle = 0
        except BlockingIOError:
            idle += 1
        await asyncio.sleep(0.01 if idle else 0)
    return sent


async def read_all(client: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=client)
    received = b""
    while part := await asyncio.wait_for(reader.read(65536), 5):
        received += part
    writer.close()
    return received


async def test_who_reads_nothing_is_not_read_either(gateway: Running) -> None:
    """Requests without a key and without a reader fill neither the memory with their answers nor with themselves."""
    client = await mute(gateway)
    many = (GET + b"x: %b\r\n\r\n" % (b"y" * 1200)) * 20_000
    assert await pushed(client, many) < len(many)
    (front,) = gateway.shared.connections
    assert front.stuck_since
    assert front.transport.get_write_buffer_size() < 200_000
    assert len(front._queue) <= PIPELINED_AT_ONCE
    await eventually(lambda: not gateway.shared.connections)  # client_write_seconds
    client.close()


async def test_a_slow_reader_gets_all_its_answers(gateway: Running, engine: FakeEngine) -> None:
    """A client that reads late gets what it asked for; the engine is not asked for more than has left."""
    text = "x" * 2_000_000
    engine.script = lambda _: answer(whole_chat(text))
    client = await mute(gateway)
    await pushed(client, whole() * 3 + whole(headers=CLOSE))
    await asyncio.sleep(0.3)
    assert 1 == len(engine.received)
    raw = await read_all(client)
    assert (4, 4) == (raw.count(b"HTTP/1.1 200 OK"), raw.count(text.encode()))
    assert 4 == len(engine.received)


async def test_who_reads_nothing_and_leaves_frees_the_engine(gateway: Running, engine: FakeEngine) -> None:
    """A connection that is not read from is still seen to end."""
    engine.script = lambda _: [Send(head(SSE)), *[Send(chunk(event(delta({"content": "x" * 99_000}))))] * 200, Hang()]
    client = await mute(gateway)
    await pushed(client, whole(json.dumps({**json.loads(BODY), "stream": True}).encode()))
    (front,) = gateway.shared.connections
    await eventually(lambda: front.stuck_since > 0)
    assert not front.transport.is_reading()
    client.close()
    await asyncio.wait_for(engine.left.wait(), 1)
    await eventually(lambda: not gateway.shared.connections)


async def test_time_in_which_nothing_is_read_does_not_count(gateway: Running, engine: FakeEngine) -> None:
    """A request that could not arrive, because those before it were not answered yet, is not too slow."""
    engine.script = lambda _: [Pause(0.09), *answer(whole_chat())]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    last = whole(headers=CLOSE)
    writer.write(whole() * (PIPELINED * 2) + last[:50])  # takes three seconds; request_seconds is one
    await eventually(lambda: len(engine.received) > PIPELINED + 2)
    (front,) = gateway.shared.connections
    assert front.waiting_since
    front.sweep(asyncio.get_running_loop().time())
    writer.write(last[50:])
    raw = await asyncio.wait_for(reader.read(), 8)
    assert PIPELINED * 2 + 1 == raw.count(b"HTTP/1.1 200 OK") == raw.count(b"HTTP/1.1")
    writer.close()


async def test_too_many_requests_at_once_are_refused(gateway: Running, engine: FakeEngine) -> None:
    """One write does not become a thousand waiting requests."""
    engine.script = lambda _: [Pause(0.1), *answer(whole_chat())]
    assert [200, 400] == await statuses(gateway, whole() + (GET + b"\r\n") * (PIPELINED_AT_ONCE + 1))


async def test_a_closing_connection_whose_rest_is_not_read_is_cut_off(gateway: Running, engine: FakeEngine) -> None:
    """Not even less than a full buffer holds a connection for ever."""
    client = await mute(gateway)
    (front,) = gateway.shared.connections
    front.transport.set_write_buffer_limits(high=100_000_000)
    engine.script = lambda _: answer(whole_chat("x" * 1_000_000))
    await pushed(client, whole(headers=CLOSE))
    await eventually(front.transport.is_closing)
    assert front.transport.get_write_buffer_size()
    assert not front.stuck_since
    await eventually(lambda: not gateway.shared.connections)
    client.close()


@pytest.mark.parametrize("secret", [b"\xff", b"\xff" * 60, b"sk-\xc3\x28", "密钥".encode()])
async def test_a_key_of_any_bytes_is_a_401(gateway: Running, secret: bytes) -> None:
    """A key that is no text is a wrong key, on every route."""
    for start in (GET.replace(b"healthz", b"v1/models"), POST.replace(AUTH, b"")):
        data = start + CLOSE + b"authorization: Bearer %b\r\n\r\n" % secret
        raw = await asyncio.wait_for(gateway.raw(data), 5)
        assert raw.startswith(b"HTTP/1.1 401 ")
        assert "invalid_api_key" == json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["code"]


async def test_no_failure_leaves_a_client_without_an_answer(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What even the error path does not catch is a 500, and stands in the log."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("of the test")

    monkeypatch.setattr(gateway.shared.application, "answer", fail)
    assert [500] == await statuses(gateway, GET + b"\r\n")
    assert "of the test" in caplog.text


@pytest.mark.parametrize("header", [AUTH, b"x-user-id: somebody\r\n"])
async def test_a_trailer_says_nothing(gateway: Running, header: bytes) -> None:
    """A key in a trailer opens nothing, neither for its request nor for the next one."""
    start = POST.replace(AUTH, b"") + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    assert [401, 401] == await statuses(gateway, start + header + b"\r\n" + whole(headers=CLOSE).replace(AUTH, b""))


async def test_an_endless_trailer_is_cut_off(gateway: Running) -> None:
    """Bytes beside a body are bounded, while they come."""
    data = POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: "
    assert [431] == await statuses(gateway, data + b"y" * 3_000_000)


async def test_an_offer_is_declined_in_the_version_of_its_request(gateway: Running) -> None:
    """HTTP/1.0 gets no chunks, with an offer neither; 100 Continue is said once; other codings are a 400."""
    offer = b"connection: upgrade\r\nupgrade: h2c\r\n"
    body = json.dumps({**json.loads(BODY), "stream": True}).encode()
    raw = await asyncio.wait_for(gateway.raw(whole(body, offer).replace(b"HTTP/1.1", b"HTTP/1.0")), 5)
    assert b"chunked" not in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    assert [100, 200] == await statuses(gateway, whole(headers=offer + CLOSE + b"expect: 100-continue\r\n"))
    for coding in (b"gzip", b"identity"):
        data = POST + offer + b"transfer-encoding: %b\r\n\r\n0\r\n\r\n" % coding
        assert [400] == await statuses(gateway, data)
    assert [200] == await statuses(gateway, GET + b"connection: upgrade, close\r\nupgrade: h2c\r\n\r\n" + whole())
    assert [200, 200] == await statuses(gateway, (GET + offer + b"\r\n") * 1100)


async def test_what_a_head_must_not_say(gateway: Running) -> None:
    """One Host, one key; a target that names its host is served; nothing is answered behind close."""
    for bad in (GET.replace(b"host: x\r\n", b""), GET + b"host: x\r\n", GET + AUTH + AUTH):
        assert [400] == await statuses(gateway, bad + b"\r\n")
    named = GET.replace(b"/healthz", b"http://gateway:8000/v1/models")
    assert [200] == await statuses(gateway, named + AUTH + CLOSE + b"\r\n")
    assert [200] == await statuses(gateway, GET + CLOSE + b"\r\n" + GET + b"\r\n")
    assert [200] == await statuses(gateway, GET + CLOSE + b"\r\n" + b"\0" * 99)
    assert [200] == await statuses(gateway, whole(headers=CLOSE) + b"\0" * 99)


async def test_a_client_that_ends_its_sending_side_has_left(gateway: Running, engine: FakeEngine) -> None:
    """Its FIN is all that is seen of a client that closes its socket; the engine is free at once."""
    engine.script = lambda _: [Hang()]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(whole())
    await eventually(lambda: bool(engine.received))
    writer.write_eof()
    await asyncio.wait_for(engine.left.wait(), 1)
    assert b"" == await asyncio.wait_for(reader.read(), 1)
    writer.close()


async def test_too_many_connections_are_turned_away(settings: Settings, engine: FakeEngine) -> None:
    """Above the limit a client is told so; where many come at once, the rest are dropped, and descriptors last."""
    few = settings.model_copy(update={"limits": Limits(connections=2)})
    async with running(few) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
        await eventually(lambda: len(gateway.shared.connections) == 2)
        assert [503] == await statuses(gateway, b"")
        more = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(TURNED_AWAY + 20)]
        received = await asyncio.gather(*(reader.read(12) for reader, _ in more), return_exceptions=True)
        assert received.count(b"HTTP/1.1 503") <= TURNED_AWAY
        await eventually(lambda: len(gateway.shared.connections) <= 2 + TURNED_AWAY)
        for _, writer in [*idle, *more]:
            writer.transport.abort()
        await eventually(lambda: not gateway.shared.connections)
        assert [200] == await statuses(gateway, whole(headers=CLOSE))


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """A process that may open few files, and could open more; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_opens_as_many_files_as_it_may(few_descriptors: int) -> None:
    """The soft limit, which is low for the sake of old programs, is raised to the hard one."""
    assert few_descriptors == worker.raise_descriptors()
    assert few_descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_connections_are_no_more_than_descriptors_allow(caplog: pytest.LogCaptureFixture) -> None:
    """Each may need a second one, for its engine; the operator reads of it once."""
    caplog.set_level(logging.WARNING)
    assert Limits() == worker.fitted(Limits(), 1_000_000)
    assert [] == caplog.messages
    assert (1024 - worker.RESERVED_DESCRIPTORS) // 2 == worker.fitted(Limits(), 1024).connections
    assert 1 == len(caplog.messages)
    assert 100 == worker.fitted(Limits(connections=100), 1024).connections
    assert 1 == worker.fitted(Limits(), 100).connections


class Addresses:
    """Notes from where turns come."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def accepted(self, turn: Turn) -> None:
        self.seen.append(turn.address)
        turn.accepted = True

    async def judged(self, turn: Turn) -> None:
        """Nobody is refused here."""

    async def finished(self, turn: Turn) -> None:
        """Nobody asks."""


@pytest.mark.parametrize(
    ("trusted", "headers", "address"),
    [
        ([], b"x-forwarded-for: 192.0.2.7\r\nx-real-ip: 192.0.2.8\r\n", "127.0.0.1"),
        (["127.0.0.0/8"], b"", "127.0.0.1"),
        (["127.0.0.0/8"], b"X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "192.0.2.7"),
        (["127.0.0.0/8"], b"x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 192.0.2.7\r\n", "192.0.2.7"),
        (["127.0.0.0/8"], b"x-real-ip: 192.0.2.8\r\n", "192.0.2.8"),
        (["127.0.0.0/8"], b"x-real-ip: \xff\xfe\r\n", "127.0.0.1"),
        (["10.0.0.0/8"], b"x-forwarded-for: 192.0.2.7\r\n", "127.0.0.1"),
    ],
)
async def test_the_address_behind_a_proxy(
    settings: Settings, engine: FakeEngine, trusted: list[str], headers: bytes, address: str
) -> None:
    """Only the word of trusted proxies is taken; each request of a connection has its own."""
    async with running(Settings(**{**dict(settings), "trusted_proxies": trusted})) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        audit = Addresses()
        gateway.set_stages(audit=audit)
        await asyncio.wait_for(gateway.raw(whole(headers=headers) + whole(headers=CLOSE)), 8)
    assert audit.seen == [address, "127.0.0.1"]
