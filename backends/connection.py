"""One connection to an engine: asyncio.Protocol and httptools, nothing between."""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from backends.chunked import sole_chunk
from backends.endpoint import Endpoint
from backends.errors import EngineBroken
from backends.sockets import Writer

HIGH_WATER = 256 * 1024
"""Unread bytes at which an engine's socket is no longer read: a slow client slows its engine, not our memory."""
TICK_SECONDS = 0.25
"""Grain of all waiting. One timer looks at every waiter, so that a read costs no timer of its own."""
MAX_HEAD_BYTES = 64 * 1024
"""Of an engine's status line and headers together."""

Taker = Callable[[bytes, bytes], bool]
"""Takes the body bytes of one read and, where the read was exactly one HTTP chunk, that chunk (else b"").

False: no more for now.
"""


class Owner(Protocol):
    """What a connection needs of the `Upstream` that it belongs to."""

    loop: asyncio.AbstractEventLoop
    waiting: set["Connection"]

    def add_waiter(self, connection: "Connection") -> None:
        """Have the one timer look after *connection*'s deadline."""

    def forget(self, connection: "Connection") -> None:
        """Drop an idle connection that the engine has closed."""


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    __slots__ = (
        "between",
        "busy",
        "complete",
        "content_type",
        "deadline",
        "endpoint",
        "failure",
        "framed",
        "head_bytes",
        "heard",
        "parser",
        "parts",
        "patience",
        "paused",
        "reusable",
        "sated",
        "size",
        "speaks",
        "status",
        "taker",
        "transport",
        "upstream",
        "waiter",
        "writer",
    )

    def __init__(self, upstream: Owner, endpoint: Endpoint) -> None:
        self.upstream = upstream
        self.endpoint = endpoint
        self.transport: asyncio.Transport | None = None
        self.writer: Writer = cast("Writer", None)
        self.busy = False
        self.speaks = True
        self.waiter: asyncio.Future[bool] | None = None
        self.deadline = 0.0
        self.patience = 0.0
        self.heard = False
        """Whether something has come since the timer last looked; a pump's deadline then begins anew."""
        self.taker: Taker | None = None
        self.sated = False
        """Whether the taker has had enough."""
        self.parser = httptools.HttpResponseParser(self)
        self._reset()

    def _reset(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.head_bytes = 0
        self.status = 0
        self.content_type = b""
        self.framed = False
        self.between = False
        """Whether the next byte begins an HTTP chunk."""
        self.complete = False
        self.reusable = False
        self.paused = False
        self.failure: str | None = None

    def begin(self, payload: bytes, *, speaks: bool = True) -> None:
        """Send a request; the connection is this exchange's until it is given back.

        *speaks*: whether its answer is one of the model's.
        """
        if self.transport is None:
            raise EngineBroken("the connection is gone")
        self.busy = True
        self.speaks = speaks
        self.heard = False
        self._reset()
        self.writer.write(payload)

    async def wait(self, patience: float) -> bool:
        """Return True when something has arrived, False after *patience* seconds (grain: `TICK_SECONDS`)."""
        loop = self.upstream.loop
        waiter: asyncio.Future[bool] = loop.create_future()
        self.waiter = waiter
        self.patience = patience
        self.deadline = loop.time() + patience
        self.upstream.add_waiter(self)
        try:
            return await waiter
        finally:
            self.waiter = None
            self.upstream.waiting.discard(self)

    def wake(self, arrived: bool) -> None:
        """Resolve the wait that is going on, if one is."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(arrived)

    def take(self) -> bytes:
        """Return the body bytes that have arrived and were not taken yet."""
        parts, self.parts, self.size = self.parts, [], 0
        if self.paused and self.transport is not None:
            self.paused = False
            self.transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Drop the connection; the engine sees that nobody waits any more."""
        if self.transport is not None:
            self.transport.abort()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.writer = Writer(self.transport)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self.between and self.taker is not None and (body := sole_chunk(data)) is not None:
            self._hand(body, data)  # the parser would stand just where it stands
            return
        self.between = False
        if not self.busy or self.complete:
            self.close()  # bytes that nobody asked for: never mistake them for the next answer
            return
        if not self.status:
            self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"what it sent is not HTTP ({error})")
            return
        if not self.status and self.head_bytes > MAX_HEAD_BYTES:
            self._fail("its headers do not end")
        elif self.size > HIGH_WATER and not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pause_reading()
        self.between = self.between and data[-2:] == b"\r\n"
        if self.taker is not None and self.parts:
            self._hand(self.take(), b"")
        if self.status and (self.taker is None or self.complete):
            self.wake(arrived=True)

    def _hand(self, body: bytes, chunk: bytes) -> None:
        """Give the taker what it waits for."""
        if self.taker is not None and not self.taker(body, chunk):
            self.taker, self.sated = None, True
            self.wake(arrived=True)

    def _fail(self, why: str) -> None:
        self.failure = why
        self.close()
        self.wake(arrived=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.busy:
            self.upstream.forget(self)
        elif not self.complete:
            if self.status and not self.framed and exc is None and self.failure is None:
                self.complete = True  # RFC 9112, 6.3: without a length the body ends with the connection
            elif self.failure is None:
                self.failure = f"it closed the connection ({exc})" if exc else "it closed the connection"
        self.wake(arrived=True)

    # what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-type":
            self.content_type = value
        elif lower in {b"content-length", b"transfer-encoding"}:
            self.framed = True

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status = self.parser.get_status_code()
        if status >= 200:  # 1xx are announcements, not the answer
            self.status = status
            self.framed = self.framed or status in {204, 304}

    def on_chunk_header(self) -> None:
        self.between = False

    def on_chunk_complete(self) -> None:
        self.between = not self.complete

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self.parts.append(body)
        self.size += len(body)

    def on_message_begin(self) -> None:
        if self.complete:  # a second answer to one request: never let it meet the next one
            self.reusable = False

    def on_message_complete(self) -> None:
        self.between = False
        if self.status and not self.complete:
            self.complete = True
            # llhttp forgets the answer once the callback has returned
            self.reusable = self.framed and self.parser.should_keep_alive()
