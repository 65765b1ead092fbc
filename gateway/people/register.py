"""Bans, exemptions and aliases: SQL owns them, the workers get a copy (`board.PEOPLE`).

What is read and changed here belongs to one transaction of the caller's, which holds the lock of `people_changes`:
so there is at most one ban of a person, and never an alias of an alias.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Table, and_, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.people.directory import packed
from gateway.people.tables import people_aliases, people_bans, people_changes, people_exemptions

TABLES: dict[str, Table] = {"ban": people_bans, "exempt": people_exemptions}
"""Where a measure of this kind stands."""
AT_ONCE = 2_000
"""Aliases that are read in one go: of all of them at once the event loop would hear nothing else."""
REPLACED = "replaced by a newer one"


class Register:
    """What has been entered of people, as the workers need it; a source of `board.Publisher`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def generation(self) -> object:
        """Return what changes with every change of an alias, a ban or an exemption, whoever made it."""
        async with self.engine.connect() as connection:
            return (await connection.execute(select(people_changes.c.number))).scalar()

    async def document(self) -> dict[str, Any]:
        """Return the workers' copy: `gateway.people.directory.Published`."""
        now = int(time.time())
        async with self.engine.connect() as connection:
            aliases: dict[str, str] = {}
            query = select(people_aliases.c.alias, people_aliases.c.person)
            async for part in (await connection.stream(query)).partitions(AT_ONCE):
                aliases.update((row.alias, row.person) for row in part)
            found = {kind: await _untils(connection, table, now) for kind, table in TABLES.items()}
        return {"aliases": await asyncio.to_thread(packed, aliases), "bans": found["ban"], "exempt": found["exempt"]}


async def _untils(connection: AsyncConnection, table: Table, now: int) -> dict[str, dict[str, int]]:
    query = select(table.c.person, table.c.until).where(in_force(table, now))
    return {row.person: {} if row.until is None else {"until": row.until} for row in await connection.execute(query)}


def in_force(table: Table, now: int) -> ColumnElement[bool]:
    """Return the condition of what holds at *now* (Unix seconds)."""
    return and_(table.c.ended_at.is_(None), or_(table.c.until.is_(None), table.c.until > now))


async def held(connection: AsyncConnection, kind: str, persons: Sequence[str], now: int) -> dict[str, RowMapping]:
    """Return the measure of a *kind* that holds for each of *persons* at *now*; at most a few hundred."""
    table = TABLES[kind]
    rows = await connection.execute(select(table).where(table.c.person.in_(persons), in_force(table, now)))
    return {row["person"]: row for row in rows.mappings()}


async def main_of(connection: AsyncConnection, person: str) -> str:
    """Return the id of whom *person* is an alias, or *person*."""
    query = select(people_aliases.c.person).where(people_aliases.c.alias == person)
    found: str | None = (await connection.execute(query)).scalar()
    return found or person


async def ids_of(connection: AsyncConnection, person: str) -> list[str]:
    """Return a person's id and those that stand for it."""
    aliases = people_aliases.c
    query = select(aliases.alias).where(aliases.person == person).order_by(aliases.alias)
    return [person, *(await connection.execute(query)).scalars()]


async def place(  # noqa: PLR0913, PLR0917 - a row of the table
    connection: AsyncConnection, kind: str, person: str, until: int | None, reason: str, by: str, now: int
) -> None:
    """Enter a ban or an exemption in place of the one that holds."""
    await end(connection, kind, person, REPLACED, by, now)
    values = {"person": person, "reason": reason, "until": until, "made_by": by, "created_at": now}
    await connection.execute(insert(TABLES[kind]).values(values))


async def end(  # noqa: PLR0913, PLR0917 - what a row is ended with
    connection: AsyncConnection, kind: str, person: str, why: str, by: str, now: int
) -> bool:
    """End what holds for a person; return whether anything did."""
    table = TABLES[kind]
    holds = and_(table.c.person == person, in_force(table, now))
    ended = await connection.execute(
        update(table).where(holds).values(ended_at=now, ended_by=by, ended_why=why).returning(table.c.number)
    )
    return ended.first() is not None


async def changed(connection: AsyncConnection) -> None:
    """Say that something was changed."""
    await connection.execute(update(people_changes).values(number=people_changes.c.number + 1))
