"""The draft's log of its own edits: who changed which entry when, from what to what, and why.

An entry's row stands in the same transaction as what it tells of. What is done to many entries at once is one row more,
written when it is done; where it changes entries that were there, each of them has its own. The oldest rows go when
there are more than `MOST`.
"""

import time
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import JSON, BigInteger, Boolean, Column, Integer, String, Table, Text, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.state.sql import metadata
from keywords.entry import MEASURED, Entry

MOST = 500_000
"""Rows that are kept, some 150 MB: the draft holds 300 000 entries."""
LONGEST_TEXT = 300
"""Characters of a note or a mask, before and after; the versions have all of it."""

keyword_changes = Table(
    "keyword_changes",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("entry", Integer, index=True),
    Column("term", String(200), nullable=False),
    Column("fields", JSON, nullable=False),
    Column("count", Integer, nullable=False),
    Column("within", Boolean, nullable=False),
    Column("why", Text, nullable=False),
    sqlite_autoincrement=True,
)
table = keyword_changes.c


class Kind(StrEnum):
    """What was done."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    IMPORTED = "imported"
    """A file; its new entries say the same in `added_by` and `created_at`."""
    SOURCE_REMOVED = "source_removed"
    CALIBRATED = "calibrated"
    """Measured, and where that was wanted their actions set: `count` is how many were."""
    MINED = "mined"


class Edit(NamedTuple):
    """Who does something to the draft, and what for."""

    by: str = ""
    why: str = ""


class Search(NamedTuple):
    """Which rows are listed; None: all. Those of one entry are all of them."""

    entry: int | None = None
    by: str | None = None
    kind: str | None = None
    all: bool = False
    """Also, one by one, the entries that were changed with many others."""


NOBODY = Edit()
ALL = Search()


def one(old: Entry | None, new: Entry | None, edit: Edit, *, within: bool = False) -> dict[str, Any]:
    """Return the row of an entry that was *old* (None: not there) and is *new* (None: gone).

    *within*: it was one of many, and the row of them all comes as well.
    """
    entry = new or old
    kind = Kind.ADDED if old is None else Kind.REMOVED if new is None else Kind.CHANGED
    what = {"kind": kind.value, "entry": entry.id if entry else None, "term": entry.term if entry else ""}
    return {**_made(edit), **what, "fields": _differing(old, new), "count": 1, "within": within}


def many(kind: Kind, count: int, edit: Edit, about: str = "", **figures: int) -> dict[str, Any]:
    """Return the row of what was done to *count* entries at once; *about*: the file or the source."""
    what = {
        "kind": kind.value,
        "entry": None,
        "term": about[:200],
        "fields": {name: figure for name, figure in figures.items() if figure},
        "count": count,
        "within": False,
    }
    return {**_made(edit), **what}


def _made(edit: Edit) -> dict[str, Any]:
    return {"at": int(time.time()), "made_by": edit.by, "why": edit.why}


def _differing(old: Entry | None, new: Entry | None) -> dict[str, Any]:
    """Return the old and the new value of each field that differs; of an entry that came or went, what it said."""
    there = new or old
    if there is None:
        return {}
    plain = Entry(id=there.id, term=there.term, risk="")
    before, after = old or plain, new or plain
    names = [field.name for field in fields(Entry) if getattr(before, field.name) != getattr(after, field.name)]
    values = msgspec.to_builtins(before), msgspec.to_builtins(after)
    if old is None or new is None:
        return {name: _short(values[new is not None][name]) for name in names}
    return {name: [_short(value[name]) for value in values] for name in names if name not in MEASURED}


def _short(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


async def record(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    """Write *rows* as part of the transaction of *connection*; the oldest go where there are too many."""
    if not rows:
        return
    await connection.execute(insert(keyword_changes), list(rows))
    newest = (await connection.execute(select(func.max(table.number)))).scalar_one()
    if newest > MOST:
        await connection.execute(delete(keyword_changes).where(table.number <= newest - MOST))


class KeywordChanges:
    """Reads the log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def page(self, limit: int, after: int = 0, which: Search = ALL) -> list[dict[str, Any]]:
        """Return up to *limit* rows, the newest first, from behind the number *after*; 0: from the newest on."""
        query = select(keyword_changes).order_by(table.number.desc()).limit(limit)
        if after:
            query = query.where(table.number < after)
        for column, wanted in ((table.entry, which.entry), (table.made_by, which.by), (table.kind, which.kind)):
            if wanted is not None:
                query = query.where(column == wanted)
        if not which.all and which.entry is None:
            query = query.where(table.within.is_(False))
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]
