"""The HTTP/1.1 server of the data plane: asyncio.Protocol and httptools, nothing between.

It knows just what a front on an open network needs: keep-alive, pipelining, chunked bodies, Expect, bounds on headers,
bodies, slow senders and slow readers, errors in the one shape, and word to the running turn when its client has gone.
uvicorn under ASGI does the same with twice the CPU a request (docs/performance.md); the admin API stays on it.

llhttp, in its strict default, refuses what smuggles requests: conflicting lengths, folded headers, bare CR.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools

from backends.sockets import Writer
from gateway.problems import Problem, invalid
from gateway.relay.message import HttpReply, Incoming, head
from gateway.settings import Limits, Timeouts

PIPELINED = 16
"""Requests of one connection that may wait for the one before them."""
ADMISSION_BYTES = 65_536
"""Of a body, that may be taken in before the request's key has been looked at."""
LINGER_SECONDS = 5.0
"""For a refused client to read why: closing with its bytes unread would reset the connection under our words."""


class Application(Protocol):
    """What answers the requests."""

    def admit(self, incoming: Incoming) -> None:
        """Look at the headers of a request whose body is large; raises the `Problem` that it would get anyway."""

    async def answer(self, incoming: Incoming, reply: HttpReply) -> None:
        """Answer one request. Cancelled when the client leaves."""


@dataclass(slots=True)
class Shared:
    """What all connections of a worker have in common."""

    application: Application
    limits: Limits
    timeouts: Timeouts
    connections: set["Front"] = field(default_factory=set)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    """Running turns; a turn may outlive its connection by the moment in which it is put on record."""


class Front(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_building",
        "_declined",
        "_drained",
        "_head_bytes",
        "_header_bytes",
        "_incoming",
        "_queue",
        "_reading",
        "_refusal",
        "_resumed",
        "_url",
        "_writer",
        "gone",
        "idle_since",
        "last",
        "limits",
        "loop",
        "parser",
        "refused_at",
        "shared",
        "stuck_since",
        "task",
        "transport",
        "waiting_since",
    )

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.limits = shared.limits
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.parser = httptools.HttpRequestParser(self)
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        """The turn that is being answered; cancelled when the client leaves."""
        self.waiting_since = 0.0
        """When the request that is not complete yet began to be waited for, on the loop's clock; 0: none is."""
        self.idle_since = 0.0
        self.stuck_since = 0.0
        """When the client stopped reading; 0: it reads."""
        self.last = False
        """Whether the connection ends with the answer that is under way; nothing more is read."""
        self.refused_at = 0.0
        self._queue: deque[Incoming] = deque()
        self._incoming: Incoming | None = None
        self._declined: Incoming | None = None
        self._resumed: Incoming | None = None
        self._refusal: Problem | None = None
        self._head_bytes = 0
        self._reading = True
        self._drained: asyncio.Future[None] | None = None

    # what the worker calls

    def sweep(self, now: float) -> None:
        """Cut off a client that is too slow, in sending or in reading, or idle for too long."""
        if self.refused_at:
            if now - self.refused_at > LINGER_SECONDS:
                self.transport.abort()
        elif self.waiting_since and now - self.waiting_since > self.shared.timeouts.request_seconds:
            self.refuse(Problem(408, "The request did not arrive in time.", code="request_timeout"))
        elif self.stuck_since and now - self.stuck_since > self.shared.timeouts.client_write_seconds:
            self.transport.abort()
        elif self.idle_since and now - self.idle_since > self.shared.timeouts.keep_alive_seconds:
            self.transport.close()

    def stop(self) -> None:
        """End the connection with the answer that is under way, or now."""
        self.last = True
        if self.task is None:
            self.transport.close()

    def refuse(self, problem: Problem) -> None:
        """Answer outside of any turn, and close: what follows on this connection cannot be trusted."""
        self.last = True
        if self.task is not None:  # words of ours would stand in the middle of its answer
            self._queue.clear()
            self._refusal = problem
            return
        if not (self.refused_at or self.transport.is_closing()):
            self.refused_at = self.loop.time()
            body = problem.body()
            framing = b"content-length: %d\r\nconnection: close\r\n" % len(body)
            self.transport.write(head(problem.status, problem.headers(), framing) + body)
            self.transport.write_eof()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self.transport)
        self.shared.connections.add(self)
        self.waiting_since = self.loop.time()
        if len(self.shared.connections) > self.limits.connections:
            self.refuse(Problem(503, "Too many connections.", kind="server_error", code="overloaded", retry_after=1))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.gone = True
        self.shared.connections.discard(self)
        self._queue.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        if self.last:
            return
        if self._incoming is None:
            self.idle_since = 0.0
            self.waiting_since = self.waiting_since or self.loop.time()
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            self.refuse(self._refusal or invalid("The request cannot be read.", code="invalid_http"))
        except httptools.HttpParserError as error:
            self.refuse(invalid(f"This is not valid HTTP: {error}.", code="invalid_http"))
        else:
            if self._incoming is None and self._head_bytes > self.limits.header_bytes:
                self.refuse(_headers_too_large(self.limits))

    def _decline(self, rest: bytes) -> None:
        """Decline an offer of another protocol by answering in this one (RFC 9110, 7.8); Java's client makes it.

        The parser leaves the body to the other protocol, so a new one goes on with it, behind a head without the offer.
        """
        incoming, self._declined = self._declined, None
        if incoming is None or incoming.method == "CONNECT":
            self.refuse(invalid("This is no proxy.", code="invalid_http"))
            return
        target, incoming.target = incoming.target, b""
        framing = b"transfer-encoding: chunked\r\n" if incoming.chunked else b""
        if incoming.length is not None:
            framing = b"content-length: %d\r\n" % incoming.length
        self._resumed = incoming
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (incoming.method.encode(), target, framing, rest))

    def pause_writing(self) -> None:
        self.stuck_since = self.loop.time()
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        self.stuck_since = 0.0
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # what httptools calls

    def on_message_begin(self) -> None:
        self._building, self._resumed = self._resumed or Incoming(), None
        self._url = b""
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._building.target += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        lower = name.lower()
        if lower == b"authorization":
            self._building.authorization = value
        elif lower == b"content-length":
            self._building.length = int(value)
        elif lower == b"x-user-id":
            self._building.user = value
        elif lower == b"transfer-encoding":
            self._building.chunked = True
        elif lower == b"expect":
            self._building.expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        incoming = self._incoming = self._building
        incoming.method = self.parser.get_method().decode("ascii")
        version = self.parser.get_http_version()
        if version not in {"1.0", "1.1"}:
            self._stop_parsing(invalid(f"HTTP/{version} is not spoken here.", code="invalid_http"))
        incoming.chunks_allowed = version == "1.1"
        self._head_bytes = 0
        if self._header_bytes > self.limits.header_bytes:
            self._stop_parsing(_headers_too_large(self.limits))
        if incoming.length is not None:
            self._check_size(incoming, incoming.length)
        if incoming.expects and self.task is None and incoming.chunks_allowed:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        incoming = cast("Incoming", self._incoming)
        incoming.parts.append(body)
        incoming.size += len(body)
        self._check_size(incoming, incoming.size)

    def _check_size(self, incoming: Incoming, size: int) -> None:
        if size > self.limits.body_bytes:
            self._stop_parsing(_body_too_large(self.limits))
        if size > ADMISSION_BYTES and not incoming.admitted:
            try:
                self.shared.application.admit(incoming)
            except Problem as problem:
                self._stop_parsing(problem)
            incoming.admitted = True

    def on_message_complete(self) -> None:
        incoming = cast("Incoming", self._incoming)
        self._incoming = None
        self._head_bytes = 0
        if self.parser.should_upgrade():
            self._declined = incoming
            return
        self.waiting_since = 0.0
        # llhttp forgets the answer once the callback has returned
        incoming.keep_alive = bool(self.parser.should_keep_alive())
        if self.task is None:
            self._answer(incoming)
            return
        self._queue.append(incoming)
        if len(self._queue) >= PIPELINED and self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _stop_parsing(self, problem: Problem) -> None:
        """Leave the parser for good: it hands our exception on as its own."""
        self._refusal = problem
        raise problem

    # from request to answer

    def _answer(self, incoming: Incoming) -> None:
        self.last = self.last or not incoming.keep_alive
        reply = HttpReply(self, incoming)
        self.task = self.loop.create_task(self.shared.application.answer(incoming, reply))
        self.shared.tasks.add(self.task)
        self.task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self.shared.tasks.discard(task)
        if self.task is task:  # its answer was not finished
            self.task = None
            self.transport.abort()

    def answered(self) -> None:
        """Go on after a finished answer: its task may still have things to do, but not for this client."""
        self.task = None
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif self.last:
            self.transport.close()
        elif self._queue:
            self._answer(self._queue.popleft())
            if not self._reading:
                self._reading = True
                self.transport.resume_reading()
        elif self._incoming is None:
            self.idle_since = self.loop.time()

    def send(self, data: bytes) -> None:
        """Write to the client, if it is still there."""
        if not self.gone:
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client reads again; returns at once while it does, and when it has gone."""
        if self._drained is not None and not self.gone:
            await self._drained


def _headers_too_large(limits: Limits) -> Problem:
    text = f"The request's headers have more than {limits.header_bytes} bytes."
    return Problem(431, text, code="headers_too_large")


def _body_too_large(limits: Limits) -> Problem:
    return invalid(f"The body has more than {limits.body_bytes} bytes.", code="body_too_large")
