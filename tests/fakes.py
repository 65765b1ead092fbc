"""A fake engine that speaks like vLLM or llama.cpp, and can stall, break off and lie.

In tests: `async with FakeEngine() as engine`, then `engine.script = …`. By hand: `python -m tests.fakes 9000`.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import httptools

NAME = "fake-model"
WORDS = ("你好", "，", "我是", "一个", "小", "模型", "。")


@dataclass(frozen=True)
class Send:
    """Write bytes as they are."""

    data: bytes


@dataclass(frozen=True)
class Pause:
    """Say nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Until:
    """Say nothing until the test sets an event."""

    event: asyncio.Event


@dataclass(frozen=True)
class Hang:
    """Say nothing until the other side leaves."""


@dataclass(frozen=True)
class Reset:
    """Drop the connection with a TCP reset."""


@dataclass(frozen=True)
class Close:
    """End the connection in order."""


Step = Send | Pause | Until | Hang | Reset | Close
Script = Callable[["Received"], Sequence[Step]]


@dataclass
class Received:
    """A request as the engine got it."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


def head(content_type: str, status: str = "200 OK", *, length: int | None = None) -> bytes:
    """Return a response head: chunked, or with a length."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
SSE = "text/event-stream; charset=utf-8"


def answer(document: Any, status: str = "200 OK") -> list[Step]:
    """Return a whole JSON answer."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return [Send(head("application/json", status, length=len(body)) + body)]


def stream(*events: bytes, done: bool = True) -> list[Step]:
    """Return a stream in which each event is a write of its own."""
    steps: list[Step] = [Send(head(SSE)), *(Send(chunk(event)) for event in events)]
    return [*steps, Send(END)] if done else steps


def event(document: Any) -> bytes:
    """Return one server-sent event."""
    return b"data: %b\n\n" % (document if isinstance(document, bytes) else json.dumps(document).encode())


def delta(fields: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    """Return a chat chunk as vLLM writes it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": NAME,
        "choices": [{"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}],
    }


USAGE = {"prompt_tokens": 5, "completion_tokens": len(WORDS), "total_tokens": 5 + len(WORDS)}
USAGE_CHUNK = {**delta({}), "choices": [], "usage": USAGE}


def vllm_events(words: Sequence[str] = WORDS, usage: bool = True) -> Iterator[bytes]:
    """Yield a chat stream: a role chunk, words, the finish on the last word, usage, [DONE]."""
    yield event(delta({"role": "assistant", "content": ""}))
    for i, word in enumerate(words):
        yield event(delta({"content": word}, "stop" if i == len(words) - 1 else None))
    if usage:
        yield event(USAGE_CHUNK)
    yield event(b"[DONE]")


def whole_chat(text: str = "".join(WORDS), **fields: Any) -> dict[str, Any]:
    """Return a whole chat answer."""
    message = {"role": "assistant", "content": text, **fields}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": NAME, "choices": [choice], "usage": USAGE}


def well_behaved(received: Received) -> Sequence[Step]:
    """Answer every route as a healthy engine does."""
    if received.path == "/health":
        return answer({"status": "ok"})
    if received.path == "/v1/models":
        return answer({"object": "list", "data": [{"id": NAME, "object": "model"}]})
    body = received.json()
    if body.get("stream"):
        return stream(*vllm_events())
    if received.path == "/v1/embeddings":
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return answer({"object": "list", "data": [vector], "model": NAME, "usage": usage})
    if received.path == "/v1/rerank":
        results = [{"index": i, "relevance_score": 1.0 - i / 10} for i in range(len(body["documents"]))]
        return answer({"id": "r", "model": NAME, "results": results, "usage": {"total_tokens": 3}})
    if received.path == "/v1/completions":
        choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop"}
        return answer({"object": "text_completion", "model": NAME, "choices": [choice], "usage": USAGE})
    return answer(whole_chat())


class FakeEngine:
    """The engine; `script` says what it does with each request."""

    def __init__(self, script: Script = well_behaved) -> None:
        self.script = script
        self.received: list[Received] = []
        self.connections = 0
        self.left = asyncio.Event()
        """Set when the other side leaves during an answer."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close_connections()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=5)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def listen(self, port: int, host: str = "127.0.0.1") -> None:
        """Start to listen on loopback; 127.0.0.2 and its like are other addresses of it."""
        self._server = await asyncio.start_server(self._serve, host, port)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close_connections(self) -> None:
        """Drop all open connections, idle ones too, with a reset."""
        for writer in list(self._open):
            writer.transport.abort()

    def die(self) -> None:
        """Drop all connections and listen no more, as a process that was killed; `listen` brings it back."""
        assert self._server is not None
        self._server.close()
        self.close_connections()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        try:
            while (received := await _read_request(reader)) is not None:
                self.received.append(received)
                await self._play(self.script(received), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            self._tasks.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _play(self, steps: Sequence[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in steps:
            match step:
                case Send(data):
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0)
                case Pause(seconds):
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._until_left(reader), seconds)
                case Until(event):
                    await event.wait()
                case Hang():
                    await self._until_left(reader)
                case Reset():
                    writer.transport.abort()
                    raise ConnectionResetError
                case Close():
                    writer.close()
                    raise ConnectionAbortedError

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        if not await reader.read(1):
            raise ConnectionResetError


class _Parser:
    """Collects one request."""

    def __init__(self) -> None:
        self.received = Received()
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.received.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.received.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.received.body += body

    def on_message_complete(self) -> None:
        self.complete = True


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    collected = _Parser()
    parser = httptools.HttpRequestParser(collected)
    while not collected.complete:
        data = await reader.read(65536)
        if not data:
            return None
        parser.feed_data(data)
    collected.received.method = parser.get_method().decode()
    return collected.received


async def _main(port: int) -> None:
    engine = FakeEngine()
    await engine.listen(port)
    print(f"fake engine on http://127.0.0.1:{engine.port}/v1", flush=True)  # noqa: T201 - for the hand
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
