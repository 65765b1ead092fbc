"""From the bytes of one connection to its requests: httptools, and the checks that it leaves to us. Sans-I/O.

llhttp, in its strict default, refuses what smuggles requests: conflicting lengths, folded headers, bare CR. Where it
steps aside, because a client offers another protocol, it is made to look again.
"""

import logging
import re
from typing import Protocol, cast

import httptools

from gateway import problems
from gateway.problems import Problem, invalid, not_http
from gateway.relay.message import Incoming
from gateway.settings import Limits

log = logging.getLogger(__name__)

ADMISSION_BYTES = 65_536
"""Of a body, that may be taken in before the request's key has been looked at."""
FRAMING_SHARE = 16
"""For so many bytes of a body one byte beside it is always allowed: chunks of 96 bytes and more never meet a bound."""
WANTED = {
    name: name.decode()
    for name in (
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"idempotency-key",
        b"transfer-encoding",
        b"x-user-id",
    )
}
"""The headers that anybody asks for."""
PROXIED = WANTED | {name: name.decode() for name in (b"x-forwarded-for", b"x-real-ip")}
"""The same where proxies of ours say who the client is."""
_HOST = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


class Sink(Protocol):
    """Who takes the requests. What it raises ends the connection: a `Problem` as it is, all else as our fault."""

    def admit(self, incoming: Incoming) -> None:
        """Look at the headers of a request whose body is large."""

    def expected(self) -> None:
        """Tell a client that waits for it to send its body."""

    def complete(self, incoming: Incoming) -> None:
        """Take a whole request."""


class RequestParser:
    """Reads the requests of one connection.

    Bounded are a request's head, its body, and what comes beside the body while that is not complete: chunk sizes,
    chunk extensions, trailers.
    """

    __slots__ = (
        "_building",
        "_bytes",
        "_declined",
        "_declines",
        "_header_bytes",
        "_hosts",
        "_limits",
        "_parser",
        "_resumed",
        "_sink",
        "_wanted",
        "begun",
        "ended",
        "incoming",
    )

    def __init__(self, sink: Sink, limits: Limits, *, proxied: bool = False) -> None:
        self.incoming: Incoming | None = None
        """The request whose body has not come to its end."""
        self.begun = False
        """Whether part of a request has come, and not all of it."""
        self.ended = False
        """Whether the client has said that no request follows; what it sends nevertheless is not read."""
        self._sink = sink
        self._limits = limits
        self._wanted = PROXIED if proxied else WANTED
        self._parser = httptools.HttpRequestParser(self)
        self._declined: Incoming | None = None
        self._declines = 0
        self._resumed: Incoming | None = None
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """Take what has come. Raises the `Problem` with which the connection ends."""
        incoming = self.incoming
        size = incoming.size if incoming is not None else 0
        self._bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            raise _ours(error) from None
        except httptools.HttpParserError as error:
            if self.ended:  # bytes behind the last request
                return
            raise not_http(error) from None
        if self.incoming is None:
            if self._bytes > self._limits.header_bytes:
                raise _headers_too_large(self._limits)
        elif self.incoming is incoming:
            self._bytes -= incoming.size - size
            if self._bytes > self._limits.header_bytes + incoming.size // FRAMING_SHARE:
                raise _framing_too_large(self._limits)

    def _feed(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while True:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                rest = memoryview(rest)[upgrade.args[0] :]
            else:
                return
            self._decline()

    def _decline(self) -> None:
        """Decline an offer of another protocol by answering in this one (RFC 9110, 7.8); Java's client makes it.

        llhttp leaves body and framing to the other protocol, unchecked. So a new parser goes on, behind a head with all
        that frames this request and without the offer. The second offer of a connection is its last request.
        """
        incoming, self._declined = self._declined, None
        if incoming is None or incoming.method == "CONNECT":
            raise invalid("This is no proxy.", code="invalid_http")
        self._declines += 1
        lines = [b"%b %b HTTP/1.%d" % (incoming.method.encode(), incoming.target, incoming.chunks_allowed)]
        if incoming.connection is not None:
            lines.append(b"connection: " + incoming.connection)
        if self._declines > 1:
            lines.append(b"connection: close")
        if incoming.coding is not None:
            lines.append(b"transfer-encoding: " + incoming.coding)
        if incoming.length is not None:
            lines.append(b"content-length: %d" % incoming.length)
        incoming.target, incoming.connection, incoming.coding = b"", None, None
        self._resumed = incoming
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")

    # what httptools calls

    def on_message_begin(self) -> None:
        self.begun = True
        self._hosts = 0
        self._header_bytes = 0
        if self._resumed is None:
            self._building = Incoming()
            return
        self._building, self._resumed = self._resumed, None
        self._hosts = 1  # looked at before

    def on_url(self, url: bytes) -> None:
        self._building.target += url
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: C901, PLR0912 - one line a header
        if self.incoming is not None:
            return  # a trailer, which must not pass for a header (RFC 9110, 6.5.1)
        self._header_bytes += len(name) + len(value) + 4
        wanted = self._wanted.get(name.lower())
        if wanted is None:
            return
        if self._header_bytes > self._limits.header_bytes:  # before lists of many headers are put together
            raise _headers_too_large(self._limits)
        incoming = self._building
        if wanted == "host":
            self._hosts += 1
        elif wanted == "connection":
            incoming.connection = _listed(incoming.connection, value)
        elif wanted == "authorization":
            if incoming.authorization is not None:
                raise invalid("There is more than one Authorization header.", code="invalid_http")
            incoming.authorization = value
        elif wanted == "content-length":
            incoming.length = int(value)
        elif wanted == "x-user-id":
            incoming.user = value
        elif wanted == "idempotency-key":
            incoming.once = value
        elif wanted == "transfer-encoding":
            incoming.coding = _listed(incoming.coding, value)
        elif wanted == "x-forwarded-for":
            incoming.forwarded = _listed(incoming.forwarded, value)
        elif wanted == "x-real-ip":
            incoming.real = value
        else:
            incoming.expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        incoming, parser = self._building, self._parser
        self.incoming = incoming
        incoming.method = parser.get_method().decode("ascii")
        self._check_version(incoming, parser.get_http_version())
        self._bytes = 0
        if self._header_bytes > self._limits.header_bytes:
            raise _headers_too_large(self._limits)
        if incoming.target[:1] != b"/":
            incoming.target = _origin_form(incoming.target)
        if incoming.length is not None:
            self._check_size(incoming, incoming.length)
        if incoming.expects and incoming.chunks_allowed and not parser.should_upgrade():
            self._sink.expected()

    def on_body(self, body: bytes) -> None:
        incoming = cast("Incoming", self.incoming)
        incoming.parts.append(body)
        incoming.size += len(body)
        self._check_size(incoming, incoming.size)

    def on_message_complete(self) -> None:
        incoming = cast("Incoming", self.incoming)
        self.incoming = None
        self._bytes = 0
        if self._parser.should_upgrade():
            self._declined = incoming
            return
        self.begun = False
        # llhttp forgets the answer once the callback has returned
        incoming.keep_alive = bool(self._parser.should_keep_alive())
        self.ended = not incoming.keep_alive
        self._sink.complete(incoming)

    def _check_version(self, incoming: Incoming, version: str) -> None:
        """Check the version, and the number of Host headers that belongs to it (RFC 9112, 3.2)."""
        if version == "1.1":
            wrong = self._hosts != 1
        elif version == "1.0":
            incoming.chunks_allowed = False
            wrong = self._hosts > 1
        else:
            raise invalid(f"HTTP/{version} is not spoken here.", code="invalid_http")
        if wrong:
            raise invalid(f"There must be one Host header, not {self._hosts}.", code="invalid_http")

    def _check_size(self, incoming: Incoming, size: int) -> None:
        if size > self._limits.body_bytes:
            raise invalid(f"The body has more than {self._limits.body_bytes} bytes.", code="body_too_large")
        if size > ADMISSION_BYTES and not incoming.admitted:
            self._sink.admit(incoming)
            incoming.admitted = True


def _listed(before: bytes | None, value: bytes) -> bytes:
    """Return one header for a list that came in several (RFC 9110, 5.3)."""
    return value if before is None else b"%b, %b" % (before, value)


def _origin_form(target: bytes) -> bytes:
    """Return path and query of a target that names its host too (RFC 9112, 3.2.2); any other as it is."""
    host = _HOST.match(target)
    if host is None:
        return target
    rest = target[host.end() :]
    return rest if rest[:1] == b"/" else b"/" + rest


def _ours(error: httptools.HttpParserCallbackError) -> Problem:
    """Return what one of the callbacks raised; httptools hands it on as the context of an exception of its own."""
    cause = error.__context__
    if isinstance(cause, Problem):
        return cause
    log.error("a request could not be read", exc_info=cause)
    return problems.of(cause if isinstance(cause, Exception) else error)


def _headers_too_large(limits: Limits) -> Problem:
    text = f"The request's headers have more than {limits.header_bytes} bytes."
    return Problem(431, text, code="headers_too_large")


def _framing_too_large(limits: Limits) -> Problem:
    text = f"Chunk sizes, chunk extensions and trailers have more than {limits.header_bytes} bytes; send larger chunks."
    return Problem(431, text, code="headers_too_large")
