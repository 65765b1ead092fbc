"""A request as it arrived, and the reply on its way: HTTP/1.1 without the connection."""

import http
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, phrase.encode()) for code, phrase in _REASONS.items()}


@dataclass(slots=True)
class Incoming:
    """A request as it arrived, with the few headers that anybody asks for."""

    method: str = ""
    target: bytes = b""
    authorization: bytes | None = None
    user: bytes | None = None
    once: bytes | None = None
    """Idempotency-Key."""
    address: str = ""
    """From where it came, where anybody asks."""
    length: int | None = None
    connection: bytes | None = None
    """Connection, as it came."""
    coding: bytes | None = None
    """Transfer-Encoding, as it came."""
    forwarded: bytes | None = None
    """X-Forwarded-For, where proxies are trusted."""
    real: bytes | None = None
    """X-Real-IP, likewise."""
    expects: bool = False
    keep_alive: bool = True
    chunks_allowed: bool = True
    """Whether the client knows chunked answers (HTTP/1.1)."""
    admitted: bool = False
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def path(self) -> str:
        """The path, decoded, without query."""
        raw = self.target.partition(b"?")[0].decode("latin-1")
        return unquote(raw) if "%" in raw else raw

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class Wire(Protocol):
    """What a reply needs of its connection."""

    gone: bool
    """Whether the client has left."""
    last: bool
    """Whether the connection ends with this reply."""
    stuck_since: float
    """When the client stopped reading; 0: it reads."""

    def address_of(self, incoming: Incoming) -> str:
        """Return from where a request comes: the client, or the last proxy that is not trusted."""

    def send(self, data: bytes) -> None:
        """Write to the client, if it is still there."""

    async def drain(self) -> None:
        """Wait until the client reads again."""

    def answered(self) -> None:
        """Go on to the next request."""


class HttpReply:
    """`stages.Reply` on a connection. Status, headers and the first bytes leave in one write."""

    __slots__ = ("_chunked", "_front", "_head", "_incoming", "started")

    def __init__(self, front: Wire, incoming: Incoming) -> None:
        self.started = False
        self._front = front
        self._incoming = incoming
        self._head = b""
        self._chunked = False

    @property
    def sent(self) -> bool:
        """Whether anything of it has left, so that no other answer can take its place."""
        return self.started and not self._head

    @property
    def address(self) -> str:
        """From where it was asked for."""
        return self._front.address_of(self._incoming)

    @property
    def client_gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._front.gone

    def start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None = None) -> None:
        """Set status and headers; they leave with the first bytes of the body. No *length*: the body is chunked."""
        self.started = True
        framing = b""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._incoming.chunks_allowed:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._front.last = True  # HTTP/1.0: the body ends with the connection
        if self._front.last:
            framing += b"connection: close\r\n"
        self._head = head(status, headers, framing)

    @property
    def blocked(self) -> bool:
        """Whether the client has to catch up."""
        return self._front.stuck_since > 0.0

    def write(self, data: bytes, chunk: bytes = b"") -> None:
        """Send part of a body; *chunk*, where not empty, is the same bytes as an HTTP chunk."""
        if self._chunked:
            data = chunk or b"%x\r\n%b\r\n" % (len(data), data)
        if self._head:
            data, self._head = self._head + data, b""
        self._front.send(data)

    async def drained(self) -> None:
        """Return when the client reads again: at once while it does, and when it has gone."""
        await self._front.drain()

    def finish(self, data: bytes = b"") -> None:
        """Send the last part of a body; from here on the client may leave unnoticed."""
        if self._incoming.method == "HEAD":
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._send(data)
        self._front.answered()

    def _send(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        self._front.send(data)


def head(status: int, headers: list[tuple[bytes, bytes]], framing: bytes) -> bytes:
    """Return status line and headers; *framing* is the headers that say where the body ends, as they are written."""
    line = _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    for header in headers:
        line += b"%b: %b\r\n" % header
    return b"%b%b\r\n" % (line, framing)
