"""An engine's error as the client reads it."""

import json
from typing import Any

import pytest

from gateway.relay.replies import engine_problem

BODY = json.dumps({"error": {"message": "no", "type": "x"}}).encode()


@pytest.mark.parametrize("status", [100, 204, 302, 399, 401, 403, 407, 600, 999])
def test_a_status_that_is_not_the_clients_business_is_a_502(status: int) -> None:
    """What an engine says of our credentials, a redirect, a proxy, or no status at all does not reach the client."""
    for problem in (engine_problem(status, BODY), engine_problem(status, b"")):
        assert (502, "engine_refused") == (problem.status, problem.code)


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 503, 599])
def test_an_engines_own_error_keeps_its_status(status: int) -> None:
    """What is wrong with the request is said as the engine says it."""
    problem = engine_problem(status, BODY)
    assert (status, "no") == (problem.status, problem.message)


@pytest.mark.parametrize("code", [407, 600, "600", 10**400, -1])
def test_a_status_in_the_error_counts_only_where_it_is_one(code: Any) -> None:
    """The number that stands in an error's body is as little believed."""
    problem = engine_problem(500, json.dumps({"error": {"message": "no", "code": code}}).encode())
    assert (502 if code == 407 else 500) == problem.status


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"\xff", b"", b"[]", b'{"error": ' + b"[" * 2000 + b"]" * 2000 + b"}"]
)
def test_an_error_that_cannot_be_read_is_still_one(body: bytes) -> None:
    """However an engine's error looks, the client gets its status in the one shape."""
    problem = engine_problem(500, body)
    assert (500, "engine") == (problem.status, problem.document()["error"]["src"])
