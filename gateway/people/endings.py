"""Bans whose time is over: each end is put on record once, as one that somebody decided, so that it is told of.

Nobody waits for it: a ban ends by its time in every worker, whatever is written here and when.
"""

import asyncio
import logging
import time

from sqlalchemy import and_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Person, Strike
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import Chain
from gateway.people import register
from gateway.people.journal import Journal, now_ms
from gateway.people.tables import people_bans, people_changes
from gateway.state.sql import alone

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AT_ONCE = 200
"""Ends of one transaction."""
BY = "gateway"
"""Who ended it; no admin goes by this name."""
OVER = "its time is over"


class Endings:
    """Runs in the control process; of several on one database one puts each end on record."""

    def __init__(self, engine: AsyncEngine, chain: Chain) -> None:
        self.engine = engine
        self.journal = Journal(chain)

    async def run(self) -> None:
        """Look once a second until cancelled."""
        said = ""
        while True:
            try:
                while await self.step(int(time.time())) == AT_ONCE:
                    pass
                said = ""
            except (SQLAlchemyError, OSError, AuditUnavailable) as error:
                if said != (said := type(error).__name__):
                    log.warning("ends of bans cannot be put on record now: %r", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self, now: int) -> int:
        """Put on record what is over at *now* (Unix seconds); return of how many bans, at most `AT_ONCE`.

        Of whoever was banned anew meanwhile nothing is told: they are banned, and the message of that has gone before.
        A record whose transaction fails at its very end is written again, under the same id.
        """
        bans = people_bans.c
        over = and_(bans.ended_at.is_(None), bans.until <= now)
        query = select(bans.number, bans.person, bans.until).where(over).order_by(bans.until, bans.number)
        async with self.engine.connect() as connection:
            if (await connection.execute(query.limit(1))).first() is None:
                return 0
        async with self.engine.begin() as connection:
            await alone(connection, people_changes)
            rows = (await connection.execute(query.limit(AT_ONCE))).all()
            ended = {"ended_at": bans.until, "ended_by": BY, "ended_why": OVER}
            numbers = [row.number for row in rows]
            await connection.execute(update(people_bans).where(bans.number.in_(numbers)).values(ended))
            newer = await register.held(connection, "ban", [row.person for row in rows], now)
            ends = [_end(row.number, row.person, row.until) for row in rows if row.person not in newer]
            if ends:
                await self.journal.begin(*ends)
        if ends:
            await self.journal.done(*ends)
        return len(rows)


def _end(number: int, person: str, until: int) -> Person:
    """Return the record of the end of ban *number* at *until* (Unix seconds)."""
    made = f"ban-{number}-{until}"
    return Person(at=now_ms(), id=made, person=person, kind="unban", by=BY, reason=OVER, strike=Strike(until * 1_000))
