"""The HTTP/1.1 server of the data plane: asyncio.Protocol and httptools, nothing between.

It knows just what a front on an open network needs: keep-alive, pipelining, chunked bodies, Expect, bounds on headers,
bodies, slow senders and slow readers, errors in the one shape, and word to the running turn when its client has gone.
uvicorn under ASGI does the same with twice the CPU a request (docs/performance.md); the admin API stays on it.

Here is a connection's life; `request_parser` reads its bytes, `message` writes the answers.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, cast

from backends.sockets import Writer
from gateway import problems
from gateway.problems import Problem, invalid
from gateway.proxies import Proxies
from gateway.relay.message import HttpReply, Incoming, head
from gateway.relay.request_parser import RequestParser
from gateway.settings import Limits, Timeouts

log = logging.getLogger(__name__)

PIPELINED = 16
"""Requests of one connection that may wait for the one before them; then nothing more is read."""
PIPELINED_AT_ONCE = 256
"""The same, within the one read that goes beyond `PIPELINED`; a client that sends more at once is refused."""
TURNED_AWAY = 64
"""Connections above the limit that are told so; those above these are dropped without a word."""
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
    proxies: Proxies = field(default_factory=Proxies)
    connections: set["Front"] = field(default_factory=set)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    """Running turns; a turn may outlive its connection by the moment in which it is put on record."""


class Front(asyncio.Protocol):
    """One client connection.

    A client that ends its sending side counts as one that has left: when it closes its socket, and even when it is
    killed, that FIN is all that is seen of it, and its engine must be free at once. So a client that shuts down its
    sending side alone (`nc -N`; no HTTP client does) gets no answer.
    """

    __slots__ = (
        "_drained",
        "_queue",
        "_reading",
        "_refusal",
        "_reply",
        "_writer",
        "address",
        "ends_at",
        "gone",
        "idle_since",
        "last",
        "loop",
        "parser",
        "shared",
        "stuck_since",
        "task",
        "transport",
        "waiting_since",
    )

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.parser = RequestParser(self, shared.limits, proxied=bool(shared.proxies))
        self.gone = False
        self.address = ""
        self.task: asyncio.Task[None] | None = None
        """The turn that is being answered; cancelled when the client leaves."""
        self.waiting_since = 0.0
        """When the request that is not complete yet began to be waited for, on the loop's clock; 0: none is."""
        self.idle_since = 0.0
        self.stuck_since = 0.0
        """When the client stopped reading; 0: it reads."""
        self.last = False
        """Whether the connection ends with the answer that is under way; nothing more is read."""
        self.ends_at = 0.0
        """When a connection that is being closed is cut off at the latest; 0: it is not being closed."""
        self._queue: deque[Incoming] = deque()
        self._reply: HttpReply | None = None
        self._refusal: Problem | None = None
        self._reading = True
        self._drained: asyncio.Future[None] | None = None

    # what the worker calls

    def sweep(self, now: float) -> None:
        """Cut off a client that is too slow, in sending or in reading, or idle for too long."""
        timeouts = self.shared.timeouts
        if self.ends_at:
            if now > self.ends_at:
                self.transport.abort()
        elif self.waiting_since and self._reading and now - self.waiting_since > timeouts.request_seconds:
            self.refuse(Problem(408, "The request did not arrive in time.", code="request_timeout"))
        elif self.stuck_since and now - self.stuck_since > timeouts.client_write_seconds:
            self.transport.abort()
        elif self.idle_since and now - self.idle_since > timeouts.keep_alive_seconds:
            self._close()

    def stop(self) -> None:
        """End the connection with the answer that is under way, or now."""
        self.last = True
        if self.task is None:
            self._close()

    def refuse(self, problem: Problem) -> None:
        """Answer outside of any turn, and close: what follows on this connection cannot be trusted."""
        self.last = True
        self._queue.clear()
        if self.task is not None:  # words of ours would stand in the middle of its answer
            self._refusal = problem
            return
        if not (self.ends_at or self.transport.is_closing()):
            self.ends_at = self.loop.time() + LINGER_SECONDS
            body = problem.body()
            framing = b"content-length: %d\r\nconnection: close\r\n" % len(body)
            self.transport.write(head(problem.status, problem.headers(), framing) + body)
            self.transport.write_eof()

    def _close(self) -> None:
        """Close once all that was written has left; a client that does not read it is cut off in time."""
        if not self.ends_at:
            self.ends_at = self.loop.time() + self.shared.timeouts.client_write_seconds
        self.transport.close()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._writer = Writer(self.transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        open_now, most = self.shared.connections, self.shared.limits.connections
        open_now.add(self)
        self.waiting_since = self.loop.time()
        if len(open_now) > most + TURNED_AWAY:
            self.transport.abort()
        elif len(open_now) > most:
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
        parser = self.parser
        if self.last or parser.ended:
            return
        if parser.incoming is None:
            self.idle_since = 0.0
            self.waiting_since = self.waiting_since or self.loop.time()
        try:
            parser.feed(data)
        except Problem as problem:
            self.refuse(problem)
            return
        if parser.begun and not self.waiting_since:  # behind the end of another one
            self.waiting_since = self.loop.time()

    def pause_writing(self) -> None:
        self.stuck_since = self.loop.time()
        self._drained = self.loop.create_future()
        self._read_or_rest()

    def resume_writing(self) -> None:
        self.stuck_since = 0.0
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        if self.task is None and self._queue and not self.last:
            self._answer(self._queue.popleft())
        self._read_or_rest()

    def _read_or_rest(self) -> None:
        """Read on only while the client takes its answers: else its requests would pile up here, or their answers.

        A client that leaves is noticed even so: its unread answer makes its system reset the connection.
        """
        reads = not self.stuck_since and len(self._queue) < PIPELINED
        if reads is self._reading or self.transport.is_closing():
            return
        self._reading = reads
        if not reads:
            self.transport.pause_reading()
            return
        if self.waiting_since:  # what was waited for could not come
            self.waiting_since = self.loop.time()
        self.transport.resume_reading()

    # what the parser calls

    def admit(self, incoming: Incoming) -> None:
        self.shared.application.admit(incoming)

    def expected(self) -> None:
        if self.task is None and not self._queue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def complete(self, incoming: Incoming) -> None:
        self.waiting_since = 0.0
        if self.task is None and not self._queue and not self.stuck_since:
            self._answer(incoming)
            return
        if len(self._queue) >= PIPELINED_AT_ONCE:
            raise invalid(f"More than {PIPELINED_AT_ONCE} requests came at once.", code="invalid_http")
        self._queue.append(incoming)
        self._read_or_rest()

    # from request to answer

    def address_of(self, incoming: Incoming) -> str:
        if incoming.forwarded is None and incoming.real is None:
            return self.address
        return self.shared.proxies.client(self.address, _text(incoming.forwarded), _text(incoming.real))

    def _answer(self, incoming: Incoming) -> None:
        self.last = self.last or not incoming.keep_alive
        self._reply = HttpReply(self, incoming)
        self.task = self.loop.create_task(self.shared.application.answer(incoming, self._reply))
        self.shared.tasks.add(self.task)
        self.task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        self.shared.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a request failed", exc_info=error)
        if self.task is not task:
            return
        self.task = None  # its answer was not finished
        if isinstance(error, Exception) and self._reply is not None and not self._reply.sent:
            self.refuse(problems.of(error))
        else:
            self.transport.abort()

    def answered(self) -> None:
        """Go on after a finished answer: its task may still have things to do, but not for this client.

        The next request waits until the answer has left: a client that reads nothing would have us hold them all.
        """
        self.task = None
        if self._refusal is not None:
            self.refuse(self._refusal)
        elif self.last:
            self._close()
        elif self._queue:
            if not self.stuck_since:
                self._answer(self._queue.popleft())
                self._read_or_rest()
        elif not self.parser.begun:
            self.idle_since = self.loop.time()

    def send(self, data: bytes) -> None:
        """Write to the client, if it is still there."""
        if not self.gone:
            self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the client reads again; returns at once while it does, and when it has gone."""
        if self._drained is not None and not self.gone:
            await self._drained


def _text(header: bytes | None) -> str | None:
    return header.decode("latin-1") if header is not None else None
