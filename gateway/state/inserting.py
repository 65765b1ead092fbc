"""Rows that are there once, however often they are brought."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_new(connection: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert those of *rows* that no unique column forbids, in their order."""
    if not rows:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    await connection.execute(insert(table).on_conflict_do_nothing(), list(rows))


def storable(text: str) -> str:
    """Return *text* as PostgreSQL takes it: it has no room for a zero, which JSON has."""
    return text.replace("\0", "\ufffd")
