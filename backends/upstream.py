"""The HTTP/1.1 client of the hot path: asyncio.Protocol and httptools, nothing between.

General clients cost 10 to 40 times as much a request (measured; see docs/performance.md), so this one does just what
the relay needs: POST a body, wait for the head, read what has arrived, reuse the connection.
"""

import asyncio
import ssl
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, cast

import httptools

from backends.endpoint import Endpoint
from backends.errors import EngineBroken, EngineUnreachable
from backends.sockets import Writer

HIGH_WATER = 256 * 1024
"""Unread bytes at which an engine's socket is no longer read: a slow client slows its engine, not our memory."""
TICK_SECONDS = 0.25
"""Grain of all waiting. One timer looks at every waiter, so that a read costs no timer of its own."""
IDLE_PER_ENDPOINT = 256
"""Unused connections kept to one engine."""
MAX_HEAD_BYTES = 64 * 1024
"""Of an engine's status line and headers together."""


class Head(NamedTuple):
    """Status and content type of an engine's answer."""

    status: int
    content_type: bytes


Taker = Callable[[bytes], bool]
"""Takes the bytes of one read; False: no more for now."""


class Pumped(Enum):
    """Why a pump has come to rest."""

    STOPPED = "stopped"
    ENDED = "ended"
    SILENT = "silent"


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time."""

    __slots__ = (
        "busy",
        "complete",
        "content_type",
        "deadline",
        "endpoint",
        "failure",
        "framed",
        "head_bytes",
        "parser",
        "parts",
        "patience",
        "paused",
        "reusable",
        "sated",
        "size",
        "status",
        "taker",
        "transport",
        "upstream",
        "waiter",
        "writer",
    )

    def __init__(self, upstream: "Upstream", endpoint: Endpoint) -> None:
        self.upstream = upstream
        self.endpoint = endpoint
        self.transport: asyncio.Transport | None = None
        self.writer: Writer = cast("Writer", None)
        self.busy = False
        self.waiter: asyncio.Future[bool] | None = None
        self.deadline = 0.0
        self.patience = 0.0
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
        self.complete = False
        self.reusable = False
        self.paused = False
        self.failure: str | None = None

    def begin(self, payload: bytes) -> None:
        """Send a request; the connection is this exchange's until it is given back."""
        if self.transport is None:
            raise EngineBroken("the connection is gone")
        self.busy = True
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
        if self.taker is not None and self.parts:
            self.deadline = self.upstream.loop.time() + self.patience
            if not self.taker(self.take()):
                self.taker, self.sated = None, True
                self.wake(arrived=True)
        if self.status and (self.taker is None or self.complete):
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

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self.parts.append(body)
        self.size += len(body)

    def on_message_begin(self) -> None:
        if self.complete:  # a second answer to one request: never let it meet the next one
            self.reusable = False

    def on_message_complete(self) -> None:
        if self.status and not self.complete:
            self.complete = True
            # llhttp forgets the answer once the callback has returned
            self.reusable = self.framed and self.parser.should_keep_alive()


class Exchange:
    """Requests to one engine and their answers, one after the other. Leave it through `close`, whatever happened."""

    def __init__(self, upstream: "Upstream", endpoint: Endpoint, connect_seconds: float) -> None:
        self.upstream = upstream
        self.endpoint = endpoint
        self.connect_seconds = connect_seconds
        self.connection: Connection | None = None
        self.reused = False
        self._request = b""

    async def send(self, request: bytes) -> None:
        """Write *request* on an idle connection or a new one. Raises `EngineUnreachable`."""
        self._request = request
        connection = self.upstream.idle_connection(self.endpoint)
        self.reused = connection is not None
        if connection is None:
            connection = await self.upstream.connect(self.endpoint, self.connect_seconds)
        self.connection = connection
        connection.begin(request)

    async def head(self, patience: float) -> Head | None:
        """Return the answer's head, or None after *patience* seconds of silence.

        A reused connection that turns out to be dead is replaced once, unseen: engines close idle connections
        whenever they like (llama.cpp after 5 s or 100 requests). Raises `EngineBroken` and `EngineUnreachable`.
        """
        connection = self._connected()
        while not connection.status:
            if connection.failure is not None:
                if not self.reused or connection.head_bytes:
                    raise EngineBroken(f"The engine did not answer: {connection.failure}.")
                self.reused = False
                self.connection = None
                connection = await self.upstream.connect(self.endpoint, self.connect_seconds)
                self.connection = connection
                connection.begin(self._request)
            elif not await connection.wait(patience):
                return None
        return Head(connection.status, connection.content_type)

    async def read(self, patience: float) -> bytes | None:
        """Return the body bytes that have arrived; b"" at the end of the body; None after *patience* s of silence.

        Raises `EngineBroken` when the connection is lost before the end; what arrived before is returned first.
        """
        connection = self._connected()
        while not connection.parts:
            if connection.complete:
                return b""
            if connection.failure is not None:
                raise EngineBroken(f"The engine broke off its answer: {connection.failure}.")
            if not await connection.wait(patience):
                return None
        return connection.take()

    async def pump(self, taker: Taker, patience: float) -> Pumped:
        """Call *taker* with the body bytes of each read, at once and in the event loop's own callback.

        Returns STOPPED when the taker returned False, ENDED at the end of the body, SILENT after *patience* seconds in
        which nothing came. Raises `EngineBroken` when the connection is lost before the end; what the taker raises
        stays in the taker's hands: it must not raise.
        """
        connection = self._connected()
        if connection.parts and not taker(connection.take()):
            return Pumped.STOPPED
        if connection.complete:
            return Pumped.ENDED
        if connection.failure is not None:
            raise EngineBroken(f"The engine broke off its answer: {connection.failure}.")
        connection.taker, connection.sated = taker, False
        try:
            await connection.wait(patience)
        finally:
            connection.taker = None
        if connection.sated:
            return Pumped.STOPPED
        if connection.failure is not None:
            raise EngineBroken(f"The engine broke off its answer: {connection.failure}.")
        return Pumped.ENDED if connection.complete else Pumped.SILENT

    def close(self) -> None:
        """Give the connection back if its answer was read to the end, else drop it: that frees the engine."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if connection.complete and connection.reusable and not connection.parts:
            self.upstream.give_back(connection)
        else:
            connection.close()

    def _connected(self) -> Connection:
        if self.connection is None:
            raise EngineBroken("The exchange is closed.")
        return self.connection


class Upstream:
    """All connections of one worker to all engines. Belongs to one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self.waiting: set[Connection] = set()
        self._ticking = False
        self._tls: ssl.SSLContext | None = None

    def idle_connection(self, endpoint: Endpoint) -> Connection | None:
        """Take an idle connection to *endpoint*, newest first, or None."""
        idle = self.idle.get((endpoint.host, endpoint.port, endpoint.tls))
        while idle:
            connection = idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                return connection
        return None

    async def connect(self, endpoint: Endpoint, seconds: float) -> Connection:
        """Open a connection within *seconds*. Raises `EngineUnreachable`."""
        if endpoint.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(seconds):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self, endpoint),
                    endpoint.host,
                    endpoint.port,
                    ssl=self._tls if endpoint.tls else None,
                )
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {seconds:g} s"
            raise EngineUnreachable(f"The engine of `{endpoint.model}` cannot be reached: {reason}.") from error
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for the next request."""
        connection.busy = False
        if connection.transport is None:
            return
        endpoint = connection.endpoint
        idle = self.idle.setdefault((endpoint.host, endpoint.port, endpoint.tls), [])
        if len(idle) < IDLE_PER_ENDPOINT:
            idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: Connection) -> None:
        """Drop an idle connection that the engine has closed."""
        endpoint = connection.endpoint
        idle = self.idle.get((endpoint.host, endpoint.port, endpoint.tls), [])
        if connection in idle:
            idle.remove(connection)

    def close(self) -> None:
        """Close every idle connection."""
        for idle in self.idle.values():
            for connection in list(idle):
                connection.close()
        self.idle.clear()

    def add_waiter(self, connection: Connection) -> None:
        """Have the one timer look after *connection*'s deadline."""
        self.waiting.add(connection)
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        for connection in tuple(self.waiting):
            if now >= connection.deadline:
                connection.wake(arrived=False)
        self._ticking = bool(self.waiting)
        if self._ticking:
            self.loop.call_later(TICK_SECONDS, self._tick)
