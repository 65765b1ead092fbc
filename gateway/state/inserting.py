"""Rows that are there once, however often they are brought."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, String, Table, cast, column, func, insert, literal, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_new(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those of *rows* that no unique column forbids, in their order."""
    if not rows:
        return
    inserting = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    await connection.execute(inserting(table).on_conflict_do_nothing(), list(rows))


def given(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> Select[Any]:
    """Return a query that gives *rows* of texts and numbers, which all name the same columns of *table*.

    They are one parameter, however many: SQLAlchemy makes each row of many ready in 15 µs, and the event loop waits.
    """
    names, document = list(rows[0]), msgspec.json.encode(rows).decode()
    if connection.dialect.name == "sqlite":
        each = func.json_each(document).table_valued("value")
        return select(*(func.json_extract(each.c.value, f"$.{name}") for name in names)).where(true())
    columns = [column(name, table.c[name].type) for name in names]
    found = func.jsonb_to_recordset(cast(literal(document, String), JSONB)).table_valued(*columns)
    return select(found.render_derived(with_types=True))


async def insert_given(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows* as `given` takes them, in one statement."""
    await connection.execute(insert(table).from_select(list(rows[0]), given(connection, table, rows)))


def storable(text: str) -> str:
    """Return *text* as PostgreSQL takes it: it has no room for a zero, which JSON has."""
    return text.replace("\0", "\ufffd")
