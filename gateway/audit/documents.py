"""Rows of the index as people and programs read them."""

from typing import Any

from gateway import labels
from gateway.audit.rows import Row

PLAIN = (
    "id",
    "accepted_at",
    "finished_at",
    "route",
    "key",
    "tenant",
    "person",
    "user",
    "address",
    "model",
    "replica",
    "stream",
    "library",
    "policy",
    "digest",
    "outcome",
    "status",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "first_token_ms",
    "total_ms",
    "mark",
)
"""Columns of a turn that leave as they are; times are Unix milliseconds."""


def turn(row: Any, *, texts: bool = False, producer: str | None = None) -> Row:
    """Return one turn. *texts*: with those that were kept, and, where there is an answer, *producer*'s label of it."""
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    document: Row = {name: found[name] for name in PLAIN}
    document |= {
        "verdict": {"action": row.action or "pass", "risk": row.risk, "evidence": row.evidence or []},
        "observed": row.observed or [],
        "strike": row.strike,
        "words": _text(found, "words", texts=texts),
        "answer": _text(found, "answer", texts=texts),
        "record": {"writer": row.writer, "seq": row.seq},
    }
    if texts and producer is not None and row.answer_text is not None:
        document |= labels.implicit(producer, row.id)
    return document


def event(row: Any) -> Row:
    """Return what an admin did, or what was done about a person."""
    return {
        "number": row.number,
        "at": row.at,
        "kind": row.kind,
        "id": row.id,
        "by": row.by,
        "role": row.role,
        "address": row.address,
        "action": row.action,
        "target": row.target,
        "alias": row.alias,
        "outcome": row.outcome,
        "status": row.status,
        "details": row.details or {},
        "record": {"writer": row.writer, "seq": row.seq},
    }


def _text(found: Any, name: str, *, texts: bool) -> Row | None:
    if found[f"{name}_chars"] is None:
        return None
    text = found[f"{name}_text"]
    document: Row = {"chars": found[f"{name}_chars"], "sha256": found[f"{name}_sha256"], "kept": text is not None}
    return {**document, "text": text} if texts else document
