"""The right to one request at a replica, and what is done when that replica fails before it has said anything."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from backends.endpoint import Endpoint
from backends.errors import EngineBroken, EngineError, EngineLost, EngineUnreachable
from backends.line import Hold, Line
from backends.load import Ask
from backends.upstream import Exchange, Head, Upstream

UNAVAILABLE = 503
"""What an engine says that loads its model, or is too busy: another replica may be neither."""
SENT_AGAIN = 1
"""Times that a request is sent to another replica after one that had it has died: a request that kills engines must
not be taken to each in turn. Where no connection was made nothing was sent, and there the next one may be asked."""

Heads = Callable[[Endpoint, str], bytes]
"""Returns request line and headers for a path at an endpoint."""


class Lease(Exchange):
    """The right to one request; an async context that frees the replica whatever happens.

    Leaving it before the answer was read to the end closes the connection, which cancels the engine's work.
    """

    def __init__(  # noqa: PLR0913 - the pool alone makes one
        self, line: Line, hold: Hold, ask: Ask, *, upstream: Upstream, connect_seconds: float, heads: Heads
    ) -> None:
        super().__init__(upstream, hold.load.endpoint, connect_seconds)
        self.line = line
        self.moves = 0
        """Times that another replica was asked instead."""
        self._sent_again = 0
        self._hold: Hold | None = hold
        self._asked = ask
        self._heads = heads
        self._tried: list[str] = []
        self._question: tuple[str, Callable[[Endpoint], bytes], str] | None = None
        """The person's request: path, what makes its body for an endpoint, and id; None: what is asked now is none.

        Not a function of this object, which would keep itself alive until the collector comes.
        """
        self._begun = False
        """Whether its answer has begun."""

    async def __aenter__(self) -> Self:
        """Enter; the request is counted as in flight already."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the replica; an error of the engine's is held against it."""
        if isinstance(error, EngineError):
            self._failed(error)
        self.close()
        self._free()

    async def request(self, path: str, encode: Callable[[Endpoint], bytes], request_id: str) -> None:
        """Send what *encode* makes for the endpoint to the engine's *path*.

        The engine is told *request_id* with zeros before it, as 32 hex digits: llama-cpp-python takes a UUID alone.
        Until the first byte of the answer a replica that fails is replaced by another one, unseen. Raises
        `EngineError` where there is none, and what waiting for it may raise: `Overloaded` and `NoReplica`.
        """
        self._question = path, encode, request_id
        self._begun = False
        try:
            await self._put()
        except EngineUnreachable as error:
            await self._elsewhere(error, sent=False)

    async def ask(self, path: str, body: bytes) -> None:
        """Send *body* to the same engine's *path*; an answer that was not read to its end is dropped.

        Raises `EngineUnreachable`.
        """
        self.close()
        self._question = None
        await self._write(path, body)

    async def head(self, patience: float) -> Head | None:
        """Return the answer's head, or None after *patience* seconds of silence; see `request`."""
        while True:
            try:
                head = await super().head(patience)
            except (EngineBroken, EngineUnreachable) as error:
                if self._begun or (self.connection is not None and self.connection.head_bytes > 0):
                    raise
                await self._elsewhere(error, sent=True)
                continue
            if head is None:
                return None
            if head.status == UNAVAILABLE and not self._begun and self._has_others():
                await self._elsewhere(EngineBroken("The engine answered 503."), sent=True)
                continue
            self._begun = True
            if self._hold is not None and head.status < UNAVAILABLE:
                self._hold.load.breaker.succeeded(self._hold.number)
            return head

    async def anew(self, error: EngineLost) -> None:
        """Have another replica answer from the begin, where the client has seen nothing of the answer that was lost.

        Raises *error* where there is none; see `request`.
        """
        self._begun = False
        await self._elsewhere(error, sent=True)

    def served(self, tokens: int, seconds: float) -> None:
        """Note that the answer has *tokens* and took *seconds*: what is measured of a replica's speed."""
        if self._hold is not None:
            self._hold.load.measured(tokens, seconds)

    async def _elsewhere(self, error: EngineError, *, sent: bool) -> None:
        """Send the request to another replica. Raises *error* where there is none, or it was sent often enough.

        *sent*: the replica that failed may have read it.
        """
        while True:
            self._failed(error)
            self._tried.append(self.endpoint.replica)
            self._sent_again += sent
            self.close()
            self._free()
            if self._question is None or self._sent_again > SENT_AGAIN:
                raise error
            hold = await self.line.instead(self._asked, self._tried)
            if hold is None:
                raise error
            self._hold, self.endpoint = hold, hold.load.endpoint
            self.moves += 1
            try:
                await self._put()
            except EngineUnreachable as another:
                error, sent = another, False
            else:
                return

    def _has_others(self) -> bool:
        replicas = {load.endpoint.replica for load in self.line.ready}
        return (
            self._question is not None
            and self._sent_again < SENT_AGAIN
            and not replicas <= {*self._tried, self.endpoint.replica}
        )

    def _failed(self, error: EngineError) -> None:
        if self._hold is not None:
            self._hold.load.breaker.failed(
                self._hold.number, self.upstream.loop.time(), dead=isinstance(error, EngineUnreachable)
            )

    def _free(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            self.line.release(hold, self._asked)

    async def _put(self) -> None:
        """Send the person's request to the endpoint."""
        if self._question is not None:
            path, encode, request_id = self._question
            await self._write(path, encode(self.endpoint), b"x-request-id: %b\r\n" % request_id.encode().zfill(32))

    async def _write(self, path: str, body: bytes, header: bytes = b"") -> None:
        head = self._heads(self.endpoint, path)
        await self.send(b"%b%bcontent-length: %d\r\n\r\n%b" % (head, header, len(body), body))
