"""People as admins look at them: searched for, one by one, and as a table."""

import asyncio
import codecs
import csv
import io
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from redis.exceptions import RedisError
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.people import register
from gateway.people.errors import StandingsAway
from gateway.people.ledger import Incomplete, Ledger, Stamped
from gateway.people.measures import Done
from gateway.people.past import WHY, Past, done_now
from gateway.people.standing import COUNT_SECONDS
from gateway.people.tables import people, people_aliases
from keywords.cells import guarded
from policies.strikes import UNTIL_LIFTED, Rule, State, day_of

CHUNK = 200
"""People that are read in one go."""
MOST_PAST = 100
"""Bans, or exemptions, of one person that are shown."""
MOST_EVENTS = 20
"""Of what happened to one person that are shown on their page, the newest; the route of their own has the others."""
Condition = Literal["suspended", "row", "banned", "exempt"]
COLUMNS = (
    *("id", "tenant", "user", "alias_of", "first_seen", "last_seen"),
    *("row", "today", "level", "suspended_until", "why", "banned_until", "exempt_until"),
)
NO_END = "no end"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which people; None: all. *q* is part of a name."""

    q: str | None = None
    tenant: str | None = None
    state: Condition | None = None

    def applied(self, query: Select[Any], now: int) -> Select[Any]:
        """Return *query* with the conditions that SQL knows of."""
        if self.q is not None:
            query = query.where(people.c.name.icontains(self.q, autoescape=True))
        if self.tenant is not None:
            query = query.where(people.c.tenant == self.tenant)
        if self.state in {"banned", "exempt"}:
            table = register.TABLES["ban" if self.state == "banned" else "exempt"]
            query = query.where(people.c.id.in_(select(table.c.person).where(register.in_force(table, now))))
        return query


def standing(state: State, rule: Rule, now_ms: int) -> dict[str, Any]:
    """Return a standing as people read it: what it is at *now_ms*, times in Unix seconds."""
    suspended = state.suspended(now_ms)
    ends = suspended and state.until != UNTIL_LIFTED
    decayed = now_ms - state.last > rule.decay_ms and not suspended
    return {
        "row": state.row,
        "today": state.today if state.day == day_of(now_ms, rule) else 0,
        "level": 0 if decayed else state.level,
        "suspended": suspended,
        "suspended_until": state.until // 1_000 if ends else None,
        "why": WHY.get(state.why) if suspended else None,
        "last_violation": state.last // 1_000 or None,
    }


class Roster:
    """Reads what SQL and Redis know of people."""

    def __init__(self, engine: AsyncEngine, ledger: Ledger) -> None:
        self.engine = engine
        self.ledger = ledger
        self.past = Past(engine)

    async def page(self, wanted: Wanted, limit: int, after: str = "") -> list[dict[str, Any]]:
        """Return up to *limit* people in the order of their ids, from behind the id *after*.

        Raises `StandingsAway` where it is asked for who is suspended or has violations in a row.
        """
        now = int(time.time())
        if wanted.state in {"suspended", "row"}:
            rows = await self._of_note(wanted, limit, after, now)
        else:
            rows = await self._rows(wanted, now, after, limit)
        return await self._told(rows, now)

    async def show(self, person: str, done: Done | None = None) -> dict[str, Any]:
        """Return what is known of one person, who is no alias: of what happened to them the newest.

        What was *done* just now is the newest also where the index has not heard of it yet.
        """
        now = int(time.time())
        async with self.engine.connect() as connection:
            found = await connection.execute(select(people).where(people.c.id == person))
            aliases = select(people_aliases).where(people_aliases.c.person == person).order_by(people_aliases.c.alias)
            rows = [_nameless(person) if (row := found.mappings().first()) is None else dict(row)]
            names = [
                {"id": one["alias"], "tenant": one["tenant"], "user": one["alias_name"]}
                for one in (await connection.execute(aliases)).mappings()
            ]
            past = {kind: await _past(connection, kind, person) for kind in register.TABLES}
        [told] = await self._told(rows, now)
        events, _ = await self.past.page(person, MOST_EVENTS)
        if done is not None and all(event["measure"] != done.id for event in events):
            events = [done_now(done), *events][:MOST_EVENTS]
        links = {what: f"/admin/people/{person}/{what}" for what in ("history", "events")}
        all_past = {"bans": past["ban"], "exemptions": past["exempt"], "events": events}
        return {**told, "aliases": names, **all_past, "links": links}

    async def table(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Yield a CSV of people in parts; no cell of it is a formula. Raises `StandingsAway` in place of the first."""
        rows = await self.page(wanted, CHUNK)
        yield codecs.BOM_UTF8 + _written([COLUMNS, *map(_cells, rows)])
        while len(rows) == CHUNK:
            rows = await self.page(wanted, CHUNK, rows[-1]["id"])
            yield _written(map(_cells, rows))

    async def _rows(self, wanted: Wanted, now: int, after: str, limit: int) -> list[dict[str, Any]]:
        query = wanted.applied(select(people), now).where(people.c.id > after).order_by(people.c.id).limit(limit)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def _of_note(self, wanted: Wanted, limit: int, after: str, now: int) -> list[dict[str, Any]]:
        """Return people of whom Redis knows what is asked for, also those of whom SQL has not heard yet."""
        known = await self._notable()
        ids = sorted(person for person, one in known.items() if _is(one.state, wanted.state, now * 1_000))
        found: list[dict[str, Any]] = []
        start = bisect_right(ids, after)
        while start < len(ids) and len(found) < limit:
            part = ids[start : start + CHUNK]
            start += CHUNK
            query = wanted.applied(select(people), now).where(people.c.id.in_(part))
            async with self.engine.connect() as connection:
                rows = {row["id"]: dict(row) for row in (await connection.execute(query)).mappings()}
                aliases = await _aliases(connection, part)  # nobody looks at their standings any more
            any_name = wanted.q is None and wanted.tenant is None
            meant = [person for person in part if person not in aliases and (any_name or person in rows)]
            found += [rows.get(person) or _nameless(person) for person in meant]
        return found[:limit]

    async def _told(self, rows: Sequence[dict[str, Any]], now: int) -> list[dict[str, Any]]:
        """Return *rows* with what else is known of each."""
        if not rows:
            return []
        ids = [row["id"] for row in rows]
        held: dict[str, dict[str, RowMapping]] = {"ban": {}, "exempt": {}}
        aliases: dict[str, str] = {}
        async with self.engine.connect() as connection:
            for start in range(0, len(ids), CHUNK):
                part = ids[start : start + CHUNK]
                for kind, found in held.items():
                    found.update(await register.held(connection, kind, part, now))
                aliases.update(await _aliases(connection, part))
        standings = await self._among(list({aliases.get(one, one) for one in ids}), now)
        return [
            {
                "id": row["id"],
                "tenant": row["tenant"],
                "user": row["name"],
                "alias_of": aliases.get(row["id"]),
                "first_seen": row["first_seen"],
                "last_seen": row["last_seen"],
                "standing": standings[aliases.get(row["id"], row["id"])] if standings else None,
                "ban": _measure(held["ban"].get(row["id"])),
                "exemption": _measure(held["exempt"].get(row["id"])),
            }
            for row in rows
        ]

    async def _among(self, ids: Sequence[str], now: int) -> dict[str, dict[str, Any]] | None:
        """Return the standing of each of *ids*; None: it cannot be read now."""
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                found = await self.ledger.among(ids)
        except (RedisError, OSError, Incomplete):  # TimeoutError is an OSError
            return None
        return {person: standing(one.state, self.ledger.rule, now * 1_000) for person, one in found.items()}

    async def _notable(self) -> dict[str, Stamped]:
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                await self.ledger.sequence()  # raises where they are not all there
                return await self.ledger.notable()
        except (RedisError, OSError, Incomplete) as error:
            raise StandingsAway from error


async def _aliases(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """Return which of *ids* stand for whom."""
    table = people_aliases.c
    found = await connection.execute(select(table.alias, table.person).where(table.alias.in_(ids)))
    return {row.alias: row.person for row in found}


def _is(state: State, wanted: Condition | None, now_ms: int) -> bool:
    return state.suspended(now_ms) if wanted == "suspended" else state.row > 0


def _nameless(person: str) -> dict[str, Any]:
    return {"id": person, "tenant": "", "name": "", "first_seen": None, "last_seen": None}


def _measure(row: RowMapping | None) -> dict[str, Any] | None:
    """Return a ban or an exemption as people read it."""
    if row is None:
        return None
    return {name: row[name] for name in ("until", "reason", "made_by", "created_at")}


async def _past(connection: AsyncConnection, kind: str, person: str) -> list[dict[str, Any]]:
    """Return all bans, or exemptions, that a person ever had, the newest first."""
    table = register.TABLES[kind]
    query = select(table).where(table.c.person == person).order_by(table.c.number.desc()).limit(MOST_PAST)
    hidden = {"number", "person"}
    rows = (await connection.execute(query)).mappings()
    return [{name: value for name, value in row.items() if name not in hidden} for row in rows]


def _cells(one: Mapping[str, Any]) -> list[str]:
    """Return the row of a person."""
    found = one["standing"] or {}
    until = found.get("suspended_until") or (NO_END if found.get("suspended") else None)
    own = [one[name] for name in COLUMNS[:4]]
    seen = [_moment(one[name]) for name in COLUMNS[4:6]]
    counted = [*(found.get(name) for name in ("row", "today", "level")), _moment(until), found.get("why")]
    ends = [None if held is None else _moment(held["until"] or NO_END) for held in (one["ban"], one["exemption"])]
    cells = ["" if value is None else str(value) for value in (*own, *seen, *counted, *ends)]
    return [guarded(column, cell) for column, cell in zip(COLUMNS, cells, strict=True)]


def _moment(at: int | str | None) -> str | None:
    """Return Unix seconds as a table has them; words stay."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, int) else at


def _written(rows: Iterable[Sequence[str]]) -> bytes:
    writer = csv.writer(out := io.StringIO(newline=""))
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", "replace")
