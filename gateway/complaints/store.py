"""The queues of staff: appeals and complaints as they are stored, the oldest due first."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints.published import DECIDED_SECONDS, OPEN, Case, Status
from gateway.complaints.tables import appeals, complaints

TABLES: dict[Case, Table] = {"appeals": appeals, "complaints": complaints}
PART = 500
"""Rows that are read in one go."""
_HIDDEN = {"number", "published", "claimed_until"}


class UnknownCase(Exception):
    """There is no such appeal or complaint."""


class Decided(Exception):
    """It was decided already, or is being decided by somebody else."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cases are meant; None: whatever."""

    status: str | None = None
    overdue: bool | None = None
    kind: str | None = None
    person: str | None = None
    content_id: str | None = None

    def conditions(self, table: Table, now: int) -> list[ColumnElement[bool]]:
        """Return what rows of *table* have to be at *now* (Unix seconds)."""
        named = {"status": self.status, "kind": self.kind, "person": self.person, "content_id": self.content_id}
        found = [table.c[name] == value for name, value in named.items() if value is not None]
        late = (table.c.status == OPEN) & (table.c.due_at < now)
        return found if self.overdue is None else [*found, late if self.overdue else ~late]


class Cases:
    """One of the two queues."""

    def __init__(self, engine: AsyncEngine, case: Case) -> None:
        self.engine = engine
        self.case = case
        self.table = TABLES[case]

    async def page(self, limit: int, after: str | None, wanted: Filter, now: int) -> list[dict[str, Any]]:
        """Return up to *limit* cases from behind the id *after*, the oldest due first. Raises `UnknownCase`."""
        table = self.table
        query = select(table).where(*wanted.conditions(table, now)).order_by(table.c.due_at, table.c.number)
        if after is not None:
            last = await self.row(after)
            behind = (table.c.due_at == last["due_at"]) & (table.c.number > last["number"])
            query = query.where(or_(table.c.due_at > last["due_at"], behind))
        return [shown(row, now) for row in await self._rows(query.limit(limit))]

    async def every(self, wanted: Filter, now: int) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield all cases in parts, in the order in which they came."""
        last, table = 0, self.table
        while True:
            conditions = [table.c.number > last, *wanted.conditions(table, now)]
            rows = await self._rows(select(table).where(*conditions).order_by(table.c.number).limit(PART))
            if not rows:
                return
            last = rows[-1]["number"]
            yield [shown(row, now) for row in rows]

    async def row(self, case_id: str) -> Mapping[str, Any]:
        """Return a case as it is stored. Raises `UnknownCase`."""
        rows = await self._rows(select(self.table).where(self.table.c.id == case_id))
        if not rows:
            raise UnknownCase(f"There is no `{case_id[:64]}` among the {self.case}.")
        return rows[0]

    async def counts(self, now: int) -> tuple[int, int]:
        """Return how many are open, and how many of those are overdue."""
        table = self.table
        is_open = select(func.count()).select_from(table).where(table.c.status == OPEN)
        async with self.engine.connect() as connection:
            total = (await connection.execute(is_open)).scalar_one()
            late = (await connection.execute(is_open.where(table.c.due_at < now))).scalar_one()
        return int(total), int(late)

    async def unpublished(self) -> list[Status]:
        """Return some states that the workers have not been told of."""
        rows = await self._rows(select(self.table).where(self.table.c.published.is_(False)).limit(PART))
        return [status(row) for row in rows]

    async def told(self, one: Status) -> None:
        """Know that the workers were told of a state, unless it has changed since."""
        table = self.table
        same = (table.c.id == one.id) & (table.c.status == one.status)
        async with self.engine.begin() as connection:
            await connection.execute(update(table).where(same).values(published=True))

    async def tell_again(self, now: int) -> None:
        """Have the workers told of everything that anybody may still ask for."""
        table = self.table
        asked_for = or_(table.c.status == OPEN, table.c.decided_at > now - DECIDED_SECONDS)
        async with self.engine.begin() as connection:
            await connection.execute(update(table).where(asked_for).values(published=False))

    async def forget(self, before: int) -> int:
        """Drop what was decided before that moment; return how many."""
        old = (self.table.c.status != OPEN) & (self.table.c.decided_at < before)
        async with self.engine.begin() as connection:
            return (await connection.execute(delete(self.table).where(old))).rowcount

    async def _rows(self, query: Select[Any]) -> list[Mapping[str, Any]]:
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]


def shown(row: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Return what staff see of a case at *now* (Unix seconds)."""
    overdue = row["status"] == OPEN and row["due_at"] < now
    return {**{name: value for name, value in row.items() if name not in _HIDDEN}, "overdue": overdue}


def status(row: Mapping[str, Any]) -> Status:
    """Return what whoever made a case may know of it."""
    return Status(
        id=row["id"],
        tenant=row["tenant"],
        received_at=row["received_at"],
        due_at=row["due_at"],
        status=row["status"],
        answer=row.get("reason") or row.get("answer") or "",
        decided_at=row["decided_at"] or 0,
    )
