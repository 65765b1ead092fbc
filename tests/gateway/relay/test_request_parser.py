"""Requests out of bytes: what a client may put into a head, a body and behind it, in every way to cut it."""

import pytest

from gateway.problems import Problem
from gateway.relay.message import Incoming
from gateway.relay.request_parser import RequestParser
from gateway.settings import Limits

LIMITS = Limits(header_bytes=1000, body_bytes=100_000)
CHUNKED = b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n"


class Taken:
    """Takes the requests."""

    def __init__(self) -> None:
        self.requests: list[Incoming] = []
        self.told_to_go_on = 0

    def admit(self, incoming: Incoming) -> None:
        if incoming.authorization is None:
            raise Problem(401, "no key")

    def expected(self) -> None:
        self.told_to_go_on += 1

    def complete(self, incoming: Incoming) -> None:
        self.requests.append(incoming)


def taken(*reads: bytes) -> Taken:
    """Return what comes out of *reads*."""
    taken = Taken()
    parser = RequestParser(taken, LIMITS)
    for read in reads:
        if not parser.ended:
            parser.feed(read)
    return taken


def refused(*reads: bytes) -> tuple[int, str | None]:
    """Return status and code of the problem with *reads*."""
    with pytest.raises(Problem) as caught:
        taken(*reads)
    return caught.value.status, caught.value.code


def single(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("name", [b"Authorization", b"X-User-Id", b"Host", b"Expect"])
def test_trailers_are_no_headers(name: bytes) -> None:
    """What stands behind a body names nobody, neither in its own request nor in the next one (RFC 9110, 6.5.1)."""
    data = CHUNKED + b"2\r\n{}\r\n0\r\nx: y\r\n%b: 100-continue\r\n\r\n" % name + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    for reads in ([data], single(data)):
        first, second = taken(*reads).requests
        assert b"{}" == first.body
        for request in (first, second):
            assert (None, None, False) == (request.authorization, request.user, request.expects)


BESIDE = {
    "one trailer": [b"2\r\n{}\r\n0\r\nx: ", *[b"y" * 100] * 11],
    "many trailers": [b"2\r\n{}\r\n0\r\n", *[b"x: y\r\n" * 10] * 18],
    "a chunk extension": [b"2;", *[b"x" * 100] * 11],
    "chunk sizes": [b"1\r\nx\r\n"] * 300,
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_comes_beside_a_body_is_bounded(name: str) -> None:
    """Trailers, extensions and framing have the bound of the headers, while they come."""
    assert (431, "headers_too_large") == refused(CHUNKED, *BESIDE[name])


def test_ordinary_chunks_have_no_bound_but_the_bodys() -> None:
    """Chunks of a hundred bytes make up a body of any size."""
    chunk = b"64\r\n%b\r\n" % (b"x" * 100)
    head = CHUNKED.replace(b"host", b"authorization: k\r\nhost")
    assert 90_000 == taken(head, *[chunk * 10] * 90, b"0\r\n\r\n").requests[0].size


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"chunked, gzip", b"", b"xchunked"])
@pytest.mark.parametrize("offer", [b"", OFFER])
def test_other_codings_are_refused(coding: bytes, offer: bytes) -> None:
    """Nothing but chunked is read as chunked, with an offer of another protocol as without (RFC 9112, 6.3)."""
    data = b"POST / HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: %b\r\n\r\n0\r\n\r\n" % (offer, coding)
    for reads in ([data], single(data)):
        assert (400, "invalid_http") == refused(*reads)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"gzip, chunked", b"gzip\r\ntransfer-encoding: chunked"])
def test_an_offer_does_not_change_what_is_chunked(coding: bytes) -> None:
    """The last coding says how the body is framed, in one header or in several."""
    for offer in (b"", OFFER):
        data = b"POST / HTTP/1.1\r\nhost: x\r\n%btransfer-encoding: %b\r\n\r\n2\r\n{}\r\n0\r\n\r\n" % (offer, coding)
        for reads in ([data], single(data)):
            assert [b"{}"] == [request.body for request in taken(*reads).requests]


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"upgrade", True),
        (b"1.1", b"upgrade, close", False),
        (b"1.1", b"upgrade\r\nconnection: close", False),
        (b"1.0", b"upgrade", False),
        (b"1.0", b"upgrade, keep-alive", True),
    ],
)
def test_a_declined_offer_keeps_version_and_connection(version: bytes, connection: bytes, kept: bool) -> None:
    """HTTP/1.0 stays what it is, and close is not lost."""
    head = b"POST /a HTTP/%b\r\nhost: x\r\nconnection: %b\r\nupgrade: h2c\r\n" % (version, connection)
    data = head + b"authorization: k\r\ncontent-length: 2\r\n\r\n{}"
    for reads in ([data], single(data)):
        (request,) = taken(*reads).requests
        assert (b"/a", b"{}", b"k") == (request.target, request.body, request.authorization)
        assert (kept, version == b"1.1") == (request.keep_alive, request.chunks_allowed)


def test_who_waits_with_an_offer_is_told_once() -> None:
    """One 100 Continue for one Expect."""
    head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n%bcontent-length: 2\r\n\r\n"
    for offer in (b"", OFFER):
        assert 1 == taken(head % offer, b"{}").told_to_go_on


def test_many_offers_end_a_connection() -> None:
    """The second offer of a connection is answered and the last; a thousand in one write are no trouble."""
    offer = b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % OFFER
    assert [True, False] == [request.keep_alive for request in taken(offer * 1100).requests]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nHOST: a\r\n",
        b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n" + OFFER,
        b"GET / HTTP/1.1\r\n" + OFFER,
        b"GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n",
    ],
)
def test_one_host_and_one_key(head: bytes) -> None:
    """A request that names two hosts or keys means something else to every reader of it (RFC 9112, 3.2)."""
    assert (400, "invalid_http") == refused(head + b"\r\n")


def test_http_1_0_needs_no_host() -> None:
    """Host came with HTTP/1.1."""
    assert 1 == len(taken(b"GET / HTTP/1.0\r\n\r\n").requests)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://gateway:8000/v1/models", b"/v1/models"),
        (b"HTTP://gateway/v1/models?a=http://b/c", b"/v1/models?a=http://b/c"),
        (b"https://gateway", b"/"),
        (b"http://gateway?a=b", b"/?a=b"),
        (b"/a?b=http://c/d", b"/a?b=http://c/d"),
        (b"/http://c/d", b"/http://c/d"),
        (b"*", b"*"),
    ],
)
def test_a_target_may_name_its_host(target: bytes, expected: bytes) -> None:
    """A client that takes us for its proxy is served by the path (RFC 9112, 3.2.2)."""
    assert [expected] == [r.target for r in taken(b"OPTIONS %b HTTP/1.1\r\nhost: x\r\n\r\n" % target).requests]


@pytest.mark.parametrize("behind", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0\0", b"x" * 5000])
def test_nothing_is_read_behind_close(behind: bytes) -> None:
    """Close is the last word: neither a request nor nonsense behind it has an answer."""
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert 1 == len(taken(last + behind).requests)
    assert 1 == len(taken(last, behind).requests)


def test_lists_of_many_headers_stay_small() -> None:
    """The bound on headers holds before they are put together."""
    parser = RequestParser(Taken(), LIMITS)
    with pytest.raises(Problem, match="headers have more"):
        parser.feed(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"connection: a\r\n" * 10_000)
    held = parser._building.connection
    assert held is not None
    assert len(held) <= LIMITS.header_bytes
