"""The HTTP/1.1 client of the hot path: asyncio.Protocol and httptools, nothing between.

General clients cost 10 to 40 times as much a request (measured; see docs/performance.md), so this one does just what
the relay needs: POST a body, wait for the head, read what has arrived, reuse the connection.
"""

import asyncio
import ssl
from enum import Enum
from typing import NamedTuple

from backends.connection import TICK_SECONDS, Connection, Taker
from backends.endpoint import Endpoint
from backends.errors import EngineBroken, EngineLost, EngineUnreachable

IDLE_PER_ENDPOINT = 256
"""Unused connections kept to one engine."""


class Head(NamedTuple):
    """Status and content type of an engine's answer."""

    status: int
    content_type: bytes


class Pumped(Enum):
    """Why a pump has come to rest."""

    STOPPED = "stopped"
    ENDED = "ended"
    SILENT = "silent"


class Exchange:
    """Requests to one engine and their answers, one after the other. Leave it through `close`, whatever happened."""

    def __init__(self, upstream: "Upstream", endpoint: Endpoint, connect_seconds: float) -> None:
        self.upstream = upstream
        self.endpoint = endpoint
        self.connect_seconds = connect_seconds
        self.connection: Connection | None = None
        self.reused = False
        self.speaks = True
        """Whether an answer shows that the model works, not only the server around it."""
        self._request = b""

    async def send(self, request: bytes) -> None:
        """Write *request* on an idle connection or a new one. Raises `EngineUnreachable`."""
        self._request = request
        connection = self.upstream.idle_connection(self.endpoint)
        self.reused = connection is not None
        if connection is None:
            connection = await self.upstream.connect(self.endpoint, self.connect_seconds)
        self.connection = connection
        connection.begin(request, speaks=self.speaks)

    async def head(self, patience: float) -> Head | None:
        """Return the answer's head, or None after *patience* seconds of silence.

        A reused connection that turns out to be dead is replaced once, unseen: engines close idle connections
        whenever they like (llama.cpp after 5 s or 100 requests). Raises `EngineLost` and `EngineUnreachable`.
        """
        connection = self._connected()
        while not connection.status:
            if connection.failure is not None:
                if not self.reused or connection.head_bytes:
                    raise EngineLost(f"The engine did not answer: {connection.failure}.")
                self.reused = False
                self.connection = None
                connection = await self.upstream.connect(self.endpoint, self.connect_seconds)
                self.connection = connection
                connection.begin(self._request, speaks=self.speaks)
            elif not await connection.wait(patience):
                return None
        return Head(connection.status, connection.content_type)

    async def read(self, patience: float) -> bytes | None:
        """Return the body bytes that have arrived; b"" at the end of the body; None after *patience* s of silence.

        Raises `EngineLost` when the connection is lost before the end; what arrived before is returned first.
        """
        connection = self._connected()
        while not connection.parts:
            if connection.complete:
                return b""
            if connection.failure is not None:
                raise EngineLost(f"The engine broke off its answer: {connection.failure}.")
            if not await connection.wait(patience):
                return None
        return connection.take()

    async def pump(self, taker: Taker, patience: float) -> Pumped:
        """Call *taker* with the body bytes of each read, at once and in the event loop's own callback.

        Returns STOPPED when the taker returned False, ENDED at the end of the body, SILENT after *patience* seconds in
        which nothing came. Raises `EngineLost` when the connection is lost before the end; what the taker raises
        stays in the taker's hands: it must not raise.
        """
        connection = self._connected()
        if connection.parts and not taker(connection.take(), b""):
            return Pumped.STOPPED
        if connection.complete:
            return Pumped.ENDED
        if connection.failure is not None:
            raise EngineLost(f"The engine broke off its answer: {connection.failure}.")
        connection.taker, connection.sated = taker, False
        try:
            await connection.wait(patience)
        finally:
            connection.taker = None
        if connection.sated:
            return Pumped.STOPPED
        if connection.failure is not None:
            raise EngineLost(f"The engine broke off its answer: {connection.failure}.")
        return Pumped.ENDED if connection.complete else Pumped.SILENT

    def close(self) -> None:
        """Give the connection back if its answer was read to the end, else drop it: that frees the engine."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if connection.complete and connection.speaks:
            self.upstream.heard[self.endpoint.replica] = self.upstream.loop.time()
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
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self.waiting: set[Connection] = set()
        self.heard: dict[str, float] = {}
        """When each replica last sent something of an answer, within `TICK_SECONDS`."""
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
            if connection.heard and connection.speaks:
                self.heard[connection.endpoint.replica] = now
            if connection.heard and connection.taker is not None:
                connection.deadline = now + connection.patience
            elif now >= connection.deadline:
                connection.wake(arrived=False)
            connection.heard = False
        self._ticking = bool(self.waiting)
        if self._ticking:
            self.loop.call_later(TICK_SECONDS, self._tick)
