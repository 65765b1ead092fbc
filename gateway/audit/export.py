"""The index as a file: JSON lines or a table, written a part at a time."""

import codecs
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from gateway import labels
from gateway.audit import documents
from gateway.audit.rows import Row
from gateway.audit.writer import SHANGHAI
from keywords.cells import guarded

Format = Literal["jsonl", "csv"]
MEDIA: dict[Format, str] = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

TIMES = ("accepted_at", "finished_at")
TEXTS = ("words_text", "answer_text")
LABEL = "AIGC"
"""Column of the implicit label: what its field of that name holds, as JSON."""
RUN = ("\n", "＝", "＋", "－", "＠")
"""Begins of a formula to some spreadsheets, beside those that `guarded` knows."""
COLUMNS = (
    *documents.PLAIN,
    "action",
    "risk",
    "evidence",
    "observed",
    "strike_event",
    "strike",
    "words_chars",
    "words_sha256",
    "answer_chars",
    "answer_sha256",
)


async def lines(
    parts: AsyncIterator[list[Any]], form: Format, *, texts: bool = False, producer: str | None = None
) -> AsyncIterator[bytes]:
    """Yield a file of the turns in *parts*; with *texts* each kept answer carries *producer*'s implicit label."""
    if form == "csv":
        columns = (*COLUMNS, *TEXTS, LABEL) if texts else COLUMNS
        yield codecs.BOM_UTF8 + _table([columns])  # the mark by which Excel knows UTF-8
        async for part in parts:
            yield _table([_cells(row, columns, producer) for row in part])
        return
    async for part in parts:
        made = [documents.turn(row, texts=texts, producer=producer) for row in part]
        yield b"".join(msgspec.json.encode(document) + b"\n" for document in made)


def _table(rows: list[Any]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "replace")


def _cells(row: Any, columns: tuple[str, ...], producer: str | None) -> list[str]:
    """Return the cells of one turn; none of them is a formula to a spreadsheet."""
    found: Row = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    if producer is not None and row.answer_text is not None:
        found[LABEL] = labels.implicit(producer, row.id)["AIGC"]
    return [_harmless(name, _cell(name, found.get(name))) for name in columns]


def _harmless(name: str, cell: str) -> str:
    return f"'{cell}" if cell.startswith(RUN) else guarded(name, cell)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in TIMES:
        return datetime.fromtimestamp(value / 1000, UTC).astimezone(SHANGHAI).isoformat(timespec="milliseconds")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
