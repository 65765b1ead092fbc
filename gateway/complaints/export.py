"""Complaints as a file, for those who report on them."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

Format = Literal["csv", "jsonl"]
COLUMNS = (
    "id",
    "received_at",
    "due_at",
    "status",
    "kind",
    "content_id",
    "tenant",
    "person",
    "user",
    "text",
    "contact",
    "decision",
    "risk",
    "answer",
    "decided_by",
    "decided_at",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the begin of a formula."""


async def written(parts: AsyncIterator[list[dict[str, Any]]], form: Format) -> AsyncIterator[bytes]:
    """Yield a file of rows that come in *parts*."""
    if form == "csv":
        yield "\ufeff".encode() + _lines([dict(zip(COLUMNS, COLUMNS, strict=True))])  # else Excel takes it for Latin-1
    async for rows in parts:
        yield _lines(rows) if form == "csv" else b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _lines(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return buffer.getvalue().encode()


def _cell(value: Any) -> Any:
    """Return a cell that is a text to every spreadsheet, whoever wrote it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
