"""What is on record of an admin's request: its fields, without secrets, and no more of them than there is room for."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any

import msgspec

from gateway import hidden

FIELD_BYTES = 1_024
"""Of one field as JSON; a longer one is on record by its length and digest."""
MOST_BYTES = 4_096
"""Of all details of a request as JSON."""
MOST_FIELDS = 100
LONGEST_NAME = 64


def details(
    body: bytes, content_type: str, query: Sequence[tuple[str, str]], idempotency_key: str | None
) -> dict[str, Any]:
    """Return what a request says: `body`, `query`, `idempotency_key`; what is empty is left out."""
    found: dict[str, Any] = {}
    if query:
        found["query"] = fields(dict(query))
    if body:
        found["body"] = _said(body) if "json" in content_type else _digest(body)
    if idempotency_key:
        found["idempotency_key"] = _bounded(idempotency_key)
    return found if _size(found) <= MOST_BYTES else {name: _bounded(value) for name, value in found.items()}


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
        return fields(said) if isinstance(said, dict) else _digest(body)
    except (msgspec.DecodeError, RecursionError):
        return _digest(body)


def fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *said* says without its secrets: as much as there is room for, and how many fields more there are."""
    found: dict[str, Any] = {}
    left = MOST_BYTES - FIELD_BYTES
    for name, value in islice(said.items(), MOST_FIELDS):
        kept = _bounded(hidden.HIDDEN if hidden.is_secret(name) else hidden.fields(value))
        size = _size({name: kept})
        if len(name) <= LONGEST_NAME and size <= left:
            found[name] = kept
            left -= size
    more = len(said) - len(found)
    return {**found, "…": more} if more else found


def _bounded(value: Any) -> Any:
    encoded = msgspec.json.encode(value)
    return value if len(encoded) <= FIELD_BYTES else _digest(encoded)


def _digest(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": sha256(data).hexdigest()}


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
