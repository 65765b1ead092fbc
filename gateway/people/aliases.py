"""Several names of one person: Dify calls one person by another id in each app.

From then on what an alias says counts for the person. The standing that the alias had is no longer looked at, and its
strikes stay its own: what is on record under an id is replayed for that id. Only a suspension goes over, as one by
hand, so that nobody leaves it by becoming somebody else.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

import msgspec
from redis.exceptions import RedisError
from sqlalchemy import delete, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.entries import Person
from gateway.people import register
from gateway.people.directory import is_id, person_id
from gateway.people.errors import MeasureRefused, StandingsAway
from gateway.people.journal import measure, now_ms
from gateway.people.ledger import Incomplete
from gateway.people.measures import People
from gateway.people.seen import Sight, kept, remember
from gateway.people.standing import COUNT_SECONDS
from gateway.people.tables import people_aliases, people_changes
from gateway.reasons import LONGEST_REASON
from gateway.state.inserting import given, insert_given
from gateway.state.sql import alone
from policies.strikes import UNTIL_LIFTED

CHUNK = 250
"""Aliases that are entered in one transaction: making their rows ready takes the event loop some milliseconds."""


class UnknownAlias(Exception):
    """There is no alias with this id."""

    def __init__(self, alias: str) -> None:
        super().__init__(f"There is no alias `{alias[:64]}`.")


class Became(StrEnum):
    """What became of a row."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    """It was there."""
    REFUSED = "refused"


class Row(msgspec.Struct, frozen=True, gc=False):
    """Whom a tenant's clients also call *alias* is their *user*."""

    tenant: str
    alias: str
    user: str
    alias_id: str = ""
    """The id of the name that stands for somebody else; made of the name, as the next one."""
    person: str = ""
    """The id of the person."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "alias_id", person_id(self.tenant, self.alias))
        msgspec.structs.force_setattr(self, "person", person_id(self.tenant, self.user))


class Entered(msgspec.Struct, frozen=True, gc=False):
    """A row, and what became of it; *field* and *reason* of one that was refused."""

    row: Row
    became: Became
    field: str = ""
    reason: str = ""


def judged(row: Row, aliases: dict[str, str], names: dict[str, str], barred: set[str]) -> Entered:
    """Return what becomes of a *row* beside the *aliases* that there are; of *barred* ids none may become one.

    *names*: of whom they stand for, by their ids.
    """
    alias, person = row.alias_id, row.person
    field, reason = "alias", ""
    if alias == person:
        reason = "is the person's own name"
    elif aliases.get(alias) == person:
        return Entered(row, Became.UNCHANGED)
    elif alias in aliases:
        reason = f"is an alias of `{names[aliases[alias]]}` already; remove that first"
    elif person in aliases:
        field, reason = "user", f"is an alias itself, of `{names[aliases[person]]}`; name that person"
    elif alias in aliases.values():
        reason = "has aliases of its own; remove them first, and enter them for the person"
    elif alias in barred:
        reason = "is banned or exempt; end that first, and enter it for the person"
    return Entered(row, Became.REFUSED, field, reason) if reason else Entered(row, Became.ADDED)


class Aliases:
    """The aliases as admins keep them."""

    def __init__(self, people: People) -> None:
        self.people = people

    async def add(self, row: Row, reason: str, by: str) -> tuple[dict[str, Any], bool]:
        """Enter one; return it, and whether it is new. Raises `MeasureRefused` and `StandingsAway`."""
        [entered] = await self.add_all([row], reason, by)
        if entered.became is Became.REFUSED:
            same = row.alias_id == row.person
            raise MeasureRefused(entered.field, entered.reason, conflict=not same)
        return await self.get(row.alias_id), entered.became is Became.ADDED

    async def add_all(self, rows: Sequence[Row], reason: str, by: str) -> list[Entered]:
        """Enter what can be entered, in order; return what became of each row.

        Raises `StandingsAway` where it cannot be known whether one of them is suspended; the rows from there on, at
        most `CHUNK` in one go, are not entered then.
        """
        found: list[Entered] = []
        try:
            for start in range(0, len(rows), CHUNK):
                found += await self._enter_and_carry(rows[start : start + CHUNK], reason, by)
        finally:
            await self.people.publish()
        return found

    async def remove(self, alias: str, reason: str, by: str) -> dict[str, Any]:
        """Take an alias away: from then on it is a person again, with the standing it had. Raises `UnknownAlias`."""
        async with self.people.engine.begin() as connection:
            await alone(connection, people_changes)
            gone = await _row(connection, alias)
            one = measure("unalias", gone["person"], reason, by, alias=alias)
            await connection.execute(delete(people_aliases).where(people_aliases.c.alias == alias))
            await register.changed(connection)
            await self.people.journal.begin(one)
        await self.people.journal.done(one)
        await self.people.publish()
        return gone

    async def get(self, alias: str) -> dict[str, Any]:
        """Return an alias by its id. Raises `UnknownAlias`."""
        async with self.people.engine.connect() as connection:
            return await _row(connection, alias)

    async def page(self, limit: int, after: str = "", person: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* aliases in the order of their ids, from behind *after*; *person*: of theirs alone."""
        query = select(people_aliases).where(people_aliases.c.alias > after).order_by(people_aliases.c.alias)
        if person is not None:
            query = query.where(people_aliases.c.person == person)
        async with self.people.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query.limit(limit))).mappings()]

    async def _enter(self, rows: Sequence[Row], reason: str, by: str) -> list[Entered]:
        async with self.people.engine.begin() as connection:
            await alone(connection, people_changes)
            aliases, names, barred = await _standing_around(connection, rows)
            found, measures = [], []
            for row in rows:
                found.append(judged(row, aliases, names, barred))
                if found[-1].became is Became.ADDED:
                    aliases[row.alias_id], names[row.person] = row.person, kept(row.user)
                    measures.append((row, measure("alias", row.person, reason, by, alias=row.alias_id)))
            if not measures:
                return found
            await insert_given(connection, people_aliases, [_values(row, one) for row, one in measures])
            named = {row.alias_id: Sight(row.tenant, row.alias) for row, _ in measures}
            await remember(connection, named | {row.person: Sight(row.tenant, row.user) for row, _ in measures})
            await register.changed(connection)
            await self.people.journal.begin(*(one for _, one in measures))
        await self.people.journal.done(*(one for _, one in measures))
        return found

    async def _enter_and_carry(self, rows: Sequence[Row], reason: str, by: str) -> list[Entered]:
        """Enter rows, and have suspensions go over; also of whoever was suspended while they were entered."""
        if not self.people.counted:
            return await self._enter(rows, reason, by)
        ids = list({person for row in rows for person in (row.alias_id, row.person)})
        suspended = await self._suspended(ids)
        entered = await self._enter(rows, reason, by)
        with suppress(StandingsAway):  # then what was known before has to do
            suspended = await self._suspended(ids)
        for row in [one.row for one in entered if one.became is Became.ADDED and one.row.alias_id in suspended]:
            await self._carry_over(row, suspended, reason, by)
        return entered

    async def _suspended(self, ids: Sequence[str]) -> dict[str, int]:
        """Return who of *ids* is suspended now, and until when."""
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                found = await self.people.ledger.noted(ids)
        except (RedisError, OSError, Incomplete) as error:  # TimeoutError is an OSError
            raise StandingsAway from error
        now = now_ms()
        return {person: one.state.until for person, one in found.items() if one.state.suspended(now)}

    async def _carry_over(self, row: Row, suspended: dict[str, int], reason: str, by: str) -> None:
        """Suspend the person for as long as their alias is, unless they are already."""
        until, own = suspended[row.alias_id], suspended.get(row.person, 0)
        if own == UNTIL_LIFTED or (until != UNTIL_LIFTED and until <= max(own, now_ms())):
            return
        suspended[row.person] = until
        why = f"the alias `{kept(row.alias)}` is suspended: {reason}"
        await self.people.suspend(row.person, until, why[:LONGEST_REASON], by)


async def _row(connection: AsyncConnection, alias: str) -> dict[str, Any]:
    if not is_id(alias):
        raise UnknownAlias(alias)
    found = await connection.execute(select(people_aliases).where(people_aliases.c.alias == alias))
    row = found.mappings().first()
    if row is None:
        raise UnknownAlias(alias)
    return dict(row)


async def _standing_around(
    connection: AsyncConnection, rows: Sequence[Row]
) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Return the aliases that have to do with *rows*, the names of their people, and which ids are banned or exempt."""
    ids = [row.alias_id for row in rows]
    table = people_aliases.c
    named = given(connection, people_aliases, [{"alias": one} for one in {*ids, *(row.person for row in rows)}])
    others = given(connection, people_aliases, [{"person": one} for one in ids])
    near = [table.alias.in_(named), table.person.in_(others)]  # apart: each has its index
    columns = (table.alias, table.person, table.person_name)
    found = (await connection.execute(union(*(select(*columns).where(one) for one in near)))).all()
    now = now_ms() // 1_000
    barred = {person for kind in register.TABLES for person in await register.held(connection, kind, ids, now)}
    aliases, names = {row.alias: row.person for row in found}, {row.person: row.person_name for row in found}
    return aliases, names, barred


def _values(row: Row, one: Person) -> dict[str, Any]:
    return {
        "alias": row.alias_id,
        "person": row.person,
        "tenant": row.tenant,
        "alias_name": kept(row.alias),
        "person_name": kept(row.user),
        "reason": one.reason,
        "made_by": one.by,
        "created_at": one.at // 1_000,
    }
