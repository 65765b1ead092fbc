"""What goes on record of a request."""

import json
from typing import Any

import msgspec

from gateway.admin.details import FIELD_BYTES, MOST_BYTES, details
from gateway.hidden import HIDDEN

JSON = "application/json"


def of(body: Any, **more: Any) -> dict[str, Any]:
    return details(json.dumps(body).encode(), JSON, **{"query": (), "idempotency_key": None, **more})


def test_fields_stand_as_they_came() -> None:
    """With the query and the key of the request."""
    found = of({"name": "dify", "limits": {"tokens_per_minute": 9}}, query=[("dry_run", "true")], idempotency_key="k")
    assert found == {
        "body": {"name": "dify", "limits": {"tokens_per_minute": 9}},
        "query": {"dry_run": "true"},
        "idempotency_key": "k",
    }
    assert details(b"", "", (), None) == {}


def test_secrets_are_hidden_wherever_they_stand() -> None:
    """By their names; a bound on tokens is none."""
    body = {"secret": "a", "url": {"signing_secret": "b"}, "list": [{"api_key": "c", "max_tokens": 5}], "tokens": 3}
    assert of(body, query=[("token", "d")]) == {
        "body": {
            "secret": HIDDEN,
            "url": {"signing_secret": HIDDEN},
            "list": [{"api_key": HIDDEN, "max_tokens": 5}],
            "tokens": 3,
        },
        "query": {"token": HIDDEN},
    }


def test_a_file_is_its_size_and_digest() -> None:
    """So is what only says that it is JSON, or is no object."""
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert details(b"abc", "text/csv", [("name", "w.csv")], None) == {
        "query": {"name": "w.csv"},
        "body": {"bytes": 3, "sha256": digest},
    }
    assert details(b"abc", JSON, (), None)["body"]["sha256"] == digest
    assert set(of(["a"])["body"]) == {"bytes", "sha256"}
    assert set(details(b"[" * 100_000, JSON, (), None)["body"]) == {"bytes", "sha256"}


def test_a_record_is_bounded_whatever_comes() -> None:
    """Long fields are told by their digests, many are counted."""
    found = of({"texts": ["x" * 100] * 1000, "why": "a reason"})
    assert found["body"]["texts"]["bytes"] > FIELD_BYTES
    assert found["body"]["why"] == "a reason"
    many = of({f"field{i}": "y" * 50 for i in range(10_000)}, query=[(f"q{i}", "z" * 900) for i in range(50)])
    assert len(msgspec.json.encode(many)) <= MOST_BYTES
    names = of({"n" * 5000: 1, "b": 2})
    assert names["body"] == {"b": 2, "…": 1}
    assert len(msgspec.json.encode(of({}, idempotency_key="k" * 30_000))) <= MOST_BYTES


def test_deep_bodies_do_no_harm() -> None:
    """They are refused later, by whoever reads them."""
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    assert "body" in details(deep, JSON, (), None)
