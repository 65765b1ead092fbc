"""The outbox: what is to be delivered, by whom it is being delivered, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.state.inserting import insert_new, storable
from gateway.webhooks.backoff import GIVE_UP_SECONDS
from gateway.webhooks.events import Message
from gateway.webhooks.rules import Webhook
from gateway.webhooks.tables import DELIVERED, FAILED, PENDING, deliveries

MOST_PENDING = 10_000
"""Of one receiver; what comes on top is not delivered, and shown as failed."""
MOST_KEPT = 100_000
"""Deliveries that are over, of all receivers."""
KEPT_SECONDS = 30 * 86_400
CLAIM_SECONDS = 60
"""For which a delivery is one process's; then whoever comes takes it up, since that one was killed."""
FULL = "the outbox of this receiver is full"
LONGEST_ERROR = 500
_HIDDEN = {"hook", "host", "number", "claimed_until"}


class UnknownDelivery(Exception):
    """There is no such delivery."""


class NotFailed(Exception):
    """Only what was given up can be tried anew."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is this process's until *until* (Unix seconds)."""

    number: int
    event_id: str
    body: bytes
    attempts: int
    """With the one that is about to be made."""
    give_up_at: int
    until: int


async def put(connection: AsyncConnection, hook: Webhook, messages: Sequence[Message], now: int) -> None:
    """Queue *messages* for a receiver, each once for all times."""
    table = deliveries
    waiting = select(func.count()).where(table.c.hook == hook.id, table.c.status == PENDING)
    room = MOST_PENDING - int((await connection.execute(waiting)).scalar_one())
    rows = [_row(hook, one, now, fits=i < room) for i, one in enumerate(messages)]
    await insert_new(connection, table, rows)


def _row(hook: Webhook, one: Message, now: int, *, fits: bool) -> dict[str, Any]:
    return {
        "event_id": one.id,
        "hook": hook.id,
        "host": hook.host,
        "type": one.event.value,
        "person": one.person,
        "body": storable(one.body().decode()),
        "created_at": now,
        "status": PENDING if fits else FAILED,
        "attempts": 0,
        "next_at": now,
        "give_up_at": now + GIVE_UP_SECONDS,
        "claimed_until": 0,
        "finished_at": None if fits else now,
        "last_error": "" if fits else FULL,
    }


class Outbox:
    """The deliveries as they are stored; *now* is Unix seconds everywhere."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def claim(self, hook: str, most: int, now: int) -> list[Claimed]:
        """Take up to *most* deliveries of a receiver that are due; of two processes one gets each.

        What concerns one person goes in order: the next one waits until the one before is delivered or given up.
        """
        table = deliveries
        # One pass over what waits. A subquery for what comes before each row was run 10 000 times by PostgreSQL where
        # it had no statistics yet: 19 s.
        place = func.row_number().over(partition_by=table.c.person, order_by=table.c.number).label("place")
        waits = select(table.c.number, table.c.attempts, table.c.next_at, table.c.claimed_until, place)
        first = waits.where(table.c.hook == hook, table.c.status == PENDING).subquery()
        due = select(first.c.number, first.c.attempts).where(
            first.c.place == 1, first.c.next_at <= now, first.c.claimed_until < now
        )
        async with self.engine.connect() as connection:
            found = await connection.execute(due.order_by(first.c.next_at, first.c.number).limit(most))
            rows = [(row[0], row[1]) for row in found]
        return [claimed for row in rows if (claimed := await self._claimed(*row, now)) is not None]

    async def _claimed(self, number: int, attempts: int, now: int) -> Claimed | None:
        table, until = deliveries, now + CLAIM_SECONDS
        free = (table.c.number == number) & (table.c.status == PENDING) & (table.c.claimed_until < now)
        take = update(table).where(free, table.c.attempts == attempts)
        async with self.engine.begin() as connection:
            taken = await connection.execute(take.values(claimed_until=until, attempts=attempts + 1))
            if not taken.rowcount:
                return None
            row = (await connection.execute(select(table).where(table.c.number == number))).mappings().one()
        return Claimed(number, row["event_id"], row["body"].encode(), row["attempts"], row["give_up_at"], until)

    async def delivered(self, one: Claimed, now: int) -> None:
        """Know that the receiver has it, whoever brought it."""
        await self._set(one.number, status=DELIVERED, finished_at=now, claimed_until=0, last_error="")

    async def failed(self, one: Claimed, error: str, now: int, next_at: int) -> None:
        """Have it tried again at *next_at*, or, where that is too late, no more."""
        error = storable(error)[:LONGEST_ERROR]
        if next_at > one.give_up_at:
            await self._set(one.number, one.until, status=FAILED, finished_at=now, claimed_until=0, last_error=error)
        else:
            await self._set(one.number, one.until, next_at=next_at, claimed_until=0, last_error=error)

    async def _set(self, number: int, claim: int | None = None, **values: Any) -> None:
        """Change a delivery that is pending, and, where it is told, still this process's."""
        table = deliveries
        change = update(table).where(table.c.number == number, table.c.status == PENDING)
        if claim is not None:
            change = change.where(table.c.claimed_until == claim)
        async with self.engine.begin() as connection:
            await connection.execute(change.values(values))

    async def abandon(self, hooks: Sequence[str], now: int) -> int:
        """Give up what is for none of *hooks*: the settings name its receiver no more. Return how many."""
        table = deliveries
        orphans = (table.c.status == PENDING) & table.c.hook.not_in(list(hooks)) & (table.c.claimed_until < now)
        gone = {"status": FAILED, "finished_at": now, "last_error": "the settings name this receiver no more"}
        async with self.engine.begin() as connection:
            return (await connection.execute(update(table).where(orphans).values(gone))).rowcount

    async def page(self, limit: int, after: int, status: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* deliveries, the newest first, from before number *after* (0: from the newest)."""
        query = select(deliveries).order_by(deliveries.c.number.desc()).limit(limit)
        if after:
            query = query.where(deliveries.c.number < after)
        if status is not None:
            query = query.where(deliveries.c.status == status)
        async with self.engine.connect() as connection:
            return [_shown(row) for row in (await connection.execute(query)).mappings()]

    async def retry(self, number: int, now: int) -> dict[str, Any]:
        """Try a delivery anew that was given up. Raises `UnknownDelivery` and `NotFailed`."""
        table = deliveries
        again = {"status": PENDING, "attempts": 0, "next_at": now, "give_up_at": now + GIVE_UP_SECONDS}
        again["finished_at"] = None
        async with self.engine.begin() as connection:
            change = update(table).where(table.c.number == number, table.c.status == FAILED).values(again)
            changed = (await connection.execute(change)).rowcount
            row = (await connection.execute(select(table).where(table.c.number == number))).mappings().first()
        if row is None:
            raise UnknownDelivery(f"There is no delivery {number}.")
        if not changed:
            raise NotFailed(f"The delivery {number} is {row['status']}; only one that has failed is tried anew.")
        return _shown(row)

    async def counts(self, hook: str) -> tuple[int, int]:
        """Return how many of a receiver's deliveries are pending, and how many were given up."""
        table = deliveries
        query = select(table.c.status, func.count()).where(table.c.hook == hook, table.c.status != DELIVERED)
        async with self.engine.connect() as connection:
            found = {row[0]: int(row[1]) for row in await connection.execute(query.group_by(table.c.status))}
        return found.get(PENDING, 0), found.get(FAILED, 0)

    async def forget(self, now: int) -> None:
        """Drop what has been over for long, and the oldest of too many."""
        table = deliveries
        over = table.c.status != PENDING
        newest = select(table.c.number).where(over).order_by(table.c.number.desc()).offset(MOST_KEPT).limit(1)
        async with self.engine.begin() as connection:
            await connection.execute(delete(table).where(over, table.c.finished_at < now - KEPT_SECONDS))
            last = (await connection.execute(newest)).scalar()
            if last is not None:
                await connection.execute(delete(table).where(over, table.c.number <= last))


def _shown(row: RowMapping) -> dict[str, Any]:
    rest = {str(name): value for name, value in row.items() if name not in _HIDDEN}
    return {"id": row["number"], "receiver": row["host"], **rest}
