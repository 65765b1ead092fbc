"""How old turns leave the index: PostgreSQL drops whole weeks, SQLite deletes a little at a time."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.tables import PARTS, audit_events, audit_terms, audit_turns

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
EVERY_SECONDS = 3600.0
BATCH = 1_000
"""Rows of one deletion; the database is locked so long."""
PAUSE_SECONDS = 0.05
"""Between two deletions, for others to write."""
LOCK_SECONDS = 5
"""For a week to be made or dropped; readers of the table are waited for."""
OLDEST_MS, NEWEST_MS = 400 * DAY_MS, 14 * DAY_MS
"""Turns of so long ago, or of so long ahead, have no week of their own: somebody's clock is wrong."""
OTHER = "audit_turns_other"
MAKING = 0x61756469
"""PostgreSQL's advisory lock of whoever makes a week; any number that nothing else uses."""
_WEEK = re.compile(r"audit_turns_(\d{8})")


def week_of(at: int) -> int:
    """Return the begin (Unix ms) of the week in which *at* lies; weeks begin on Thursdays, as the epoch did."""
    return at - at % WEEK_MS


def name_of(week: int) -> str:
    """Return the name of the partition of the week that begins at *week*."""
    return f"audit_turns_{datetime.fromtimestamp(week / 1000, UTC):%Y%m%d}"


async def make_room(connection: AsyncConnection, moments: Iterable[int], now: int | None = None) -> None:
    """See to it that turns of these *moments* (Unix ms) have a partition; on SQLite they need none.

    To be called before the transaction has touched the turns: two that make room would wait for each other.
    """
    if connection.dialect.name == "sqlite":
        return
    now = _now() if now is None else now
    weeks = {week_of(at) for at in moments if now - OLDEST_MS < at < now + NEWEST_MS}
    if not weeks:
        return
    if weeks <= (await partitions(connection)).keys():
        return
    await _lock_shortly(connection)
    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MAKING})")
    for week in sorted(weeks - (await partitions(connection)).keys()):
        if await _has_others(connection, week):  # no week can be made of rows that stand elsewhere
            continue
        bounds = f"FROM ({week}) TO ({week + WEEK_MS})"
        await connection.exec_driver_sql(f"CREATE TABLE {name_of(week)} PARTITION OF audit_turns FOR VALUES {bounds}")


async def partitions(connection: AsyncConnection) -> dict[int, str]:
    """Return begin (Unix ms) and name of each week that is there."""
    query = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_turns'::regclass")
    names = (await connection.execute(query)).scalars()
    found = [(match[1], match[0]) for name in names if (match := _WEEK.fullmatch(name))]
    days = [(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC), name) for day, name in found]
    return {int(day.timestamp() * 1000): name for day, name in days}


async def _has_others(connection: AsyncConnection, week: int) -> bool:
    query = f"SELECT EXISTS (SELECT FROM {OTHER} WHERE accepted_at >= {week} AND accepted_at < {week + WEEK_MS})"  # noqa: S608
    return bool((await connection.exec_driver_sql(query)).scalar())


class Expiry:
    """Keeps the index to the age of the log; runs in the control process."""

    def __init__(self, engine: AsyncEngine, days: int, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._days = days
        self._clock = clock

    async def run(self) -> None:
        """Drop once an hour until cancelled."""
        while True:
            try:
                await self.step()
            except (SQLAlchemyError, OSError) as error:
                log.error("audit: old turns cannot be taken out of the index: %s", error)  # noqa: TRY400
            await asyncio.sleep(EVERY_SECONDS)

    async def step(self) -> int:
        """Make room for this week and the next, and drop what is too old; return the number of rows deleted singly."""
        now = int(self._clock() * 1000)
        before = now - self._days * DAY_MS
        if self._engine.dialect.name != "sqlite":
            async with self._engine.begin() as connection:
                await make_room(connection, (now, now + WEEK_MS), now)
            await self._drop_weeks(before)
        return await self._delete_turns(before) + await self._delete_events(before)

    async def _drop_weeks(self, before: int) -> None:
        async with self._engine.connect() as connection:
            old = [name for week, name in (await partitions(connection)).items() if week + WEEK_MS <= before]
        for name in old:
            async with self._engine.begin() as connection:
                await _lock_shortly(connection)
                await connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
            log.info("audit: %s is dropped from the index", name)

    async def _delete_turns(self, before: int) -> int:
        """Delete single rows: all that are too old on SQLite, on PostgreSQL those of an odd time."""
        sqlite = self._engine.dialect.name == "sqlite"
        turns = audit_turns.c
        old = select(turns.number, turns.accepted_at).where(turns.accepted_at < before)
        if not sqlite:  # a week that is too old in part goes as a whole, later
            old = old.where(text(f"tableoid = '{OTHER}'::regclass"))
        old = old.order_by(turns.accepted_at).limit(BATCH)
        many = 0
        while True:
            async with self._engine.begin() as connection:
                rows = (await connection.execute(old)).all()
                numbers = [row.number for row in rows]
                await _delete(connection, audit_turns, turns.number, numbers)
                if sqlite:
                    places = [number * PARTS + part for number in numbers for part in range(PARTS)]
                    await _delete(connection, audit_terms, audit_terms.c.rowid, places)
            many += len(rows)
            if len(rows) < BATCH:
                return many
            await asyncio.sleep(PAUSE_SECONDS)

    async def _delete_events(self, before: int) -> int:
        events = audit_events.c
        old = select(events.number).where(events.at < before).order_by(events.at).limit(BATCH)
        many = 0
        while True:
            async with self._engine.begin() as connection:
                numbers = list((await connection.execute(old)).scalars())
                await _delete(connection, audit_events, events.number, numbers)
            many += len(numbers)
            if len(numbers) < BATCH:
                return many
            await asyncio.sleep(PAUSE_SECONDS)


async def _delete(connection: AsyncConnection, table: Any, column: Any, numbers: list[int]) -> None:
    if numbers:
        await connection.execute(delete(table).where(column.in_(numbers)))


async def _lock_shortly(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def _now() -> int:
    return time.time_ns() // 1_000_000
