"""What admins do about people: suspensions, lifts, bans, exemptions. Each is on record before it is done."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Person, Strike
from gateway.audit.log import Chain
from gateway.audit.record import new_id
from gateway.people import register
from gateway.people.directory import is_id, person_id
from gateway.people.errors import MeasureRefused, StandingsAway, UnknownName, UnknownPerson
from gateway.people.journal import Journal, measure, now_ms
from gateway.people.ledger import Change, Changed, Incomplete, Ledger
from gateway.people.seen import Sight, kept, remember
from gateway.people.standing import COUNT_SECONDS, PENDING
from gateway.people.tables import people, people_changes
from gateway.state.sql import alone
from policies.strikes import UNTIL_LIFTED, State, day_of

log = logging.getLogger(__name__)

NO_STRIKES = "strikes are switched off (`strikes.enabled`), and with them suspensions; a ban holds all the same"
NOTHING_TO_LIFT = "is not suspended, and has no violations in a row or today"
MOST_TENANTS = 5
"""Tenants that are named where somebody of theirs goes by a name that was not found."""


@dataclass(frozen=True, slots=True)
class Done:
    """A *measure* that is on record, and was applied or, the state server away, will be."""

    measure: Person
    applied: bool
    state: State | None = None
    """The standing that came of it."""

    @property
    def id(self) -> str:
        """The id on record."""
        return self.measure.id

    @property
    def person(self) -> str:
        """To whom it was done."""
        return self.measure.person


class People:
    """The measures. *publish* is called after each change of what the workers' copy of the register has.

    Each takes an id, or that of an alias, which means the person; a reason; and the name of whoever does it. All raise
    `UnknownPerson`, `MeasureRefused`, `StandingsAway` and `AuditUnavailable`, and then nothing was done.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        ledger: Ledger,
        chain: Chain,
        publish: Callable[[], Awaitable[object]],
        *,
        counted: bool = True,
    ) -> None:
        self.engine = engine
        self.ledger = ledger
        self.journal = Journal(chain)
        self.publish = publish
        self.counted = counted
        """Whether there are strikes at all."""

    async def suspend(self, person: str, until_ms: int, reason: str, by: str) -> Done:
        """Suspend a person *until_ms* (Unix milliseconds, or `UNTIL_LIFTED`)."""
        if until_ms != UNTIL_LIFTED and until_ms <= now_ms():
            raise MeasureRefused("until", "is over already", conflict=False)
        return await self._strike("suspend", person, reason, by, until_ms)

    async def lift(self, person: str, reason: str, by: str) -> Done:
        """End a suspension; row and day begin again, the level stays. Refused of whoever has none of the three."""
        return await self._strike("lift", person, reason, by)

    async def uphold(self, person: str, reason: str, by: str, appeal: str) -> Done:
        """Take back a suspension that was a mistake: a lift, and its level goes back, too.

        Once for each *appeal* (its id): whoever decides it again, after a kill, gets what was done then.
        """
        return await self._strike("uphold", person, reason, by, appeal=appeal)

    async def ban(self, person: str, until: int | None, reason: str, by: str) -> Done:
        """Ban a person *until* then (Unix seconds; None: until somebody ends it), in place of a ban that holds."""
        return await self._place("ban", person, until, reason, by)

    async def unban(self, person: str, reason: str, by: str) -> Done:
        """End a ban."""
        return await self._end("ban", person, reason, by)

    async def exempt(self, person: str, until: int | None, reason: str, by: str) -> Done:
        """Never strike nor suspend a person *until* then, as in `ban`."""
        return await self._place("exempt", person, until, reason, by)

    async def unexempt(self, person: str, reason: str, by: str) -> Done:
        """End an exemption."""
        return await self._end("exempt", person, reason, by)

    async def look_up(self, tenant: str, user: str) -> str:
        """Return the id of whom a *tenant*'s clients call *user*, and know them from now on."""
        found = person_id(tenant, user)
        async with self.engine.begin() as connection:
            await remember(connection, {found: Sight(tenant, user)})
        return found

    async def find(self, tenant: str, user: str) -> str:
        """Return the id of whom a *tenant*'s clients call *user*. Raises `UnknownName` and `StandingsAway`."""
        try:
            return await self.main(person_id(tenant, user))
        except UnknownPerson:
            query = select(people.c.tenant).where(people.c.name == kept(user), people.c.tenant != tenant)
            async with self.engine.connect() as connection:
                found = await connection.execute(query.order_by(people.c.tenant).limit(MOST_TENANTS))
                raise UnknownName(tenant, user, list(found.scalars())) from None

    async def main(self, person: str) -> str:
        """Return the id of the person that an id means. Raises `UnknownPerson` and `StandingsAway`.

        Known is who has spoken, was looked up, or has a standing that the tables have not heard of yet.
        """
        if not is_id(person):
            raise UnknownPerson(person)
        async with self.engine.connect() as connection:
            found = await register.main_of(connection, person)
            query = select(people.c.id).where(people.c.id == found)
            if found != person or (await connection.execute(query)).first() is not None:
                return found
        if not (self.counted and await self._has_standing(person)):
            raise UnknownPerson(person)
        async with self.engine.begin() as connection:
            await remember(connection, {person: Sight()})
        return person

    async def _has_standing(self, person: str) -> bool:
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                return (await self.ledger.look(person)).seq > 0
        except (RedisError, OSError, Incomplete) as error:  # TimeoutError is an OSError
            raise StandingsAway from error

    async def _in_good_standing(self, person: str) -> bool:
        """Return whether there is nothing to lift; where that cannot be told now there may be."""
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                state = (await self.ledger.look(person)).state
        except (RedisError, OSError, Incomplete):  # TimeoutError is an OSError
            return False
        now = now_ms()
        today = state.today and state.day == day_of(now, self.ledger.rule)
        return not (state.suspended(now) or state.row or today)

    async def _strike(  # noqa: PLR0913 - what the record of it has
        self, kind: str, person: str, reason: str, by: str, until_ms: int = 0, *, appeal: str = ""
    ) -> Done:
        """Put on record what changes a standing, do it, and put on record what came of it."""
        if not self.counted:
            raise MeasureRefused("id", NO_STRIKES)
        one = measure(kind, await self.main(person), reason, by, until=until_ms, id=appeal or new_id())
        if kind == "lift" and await self._in_good_standing(one.person):
            raise MeasureRefused("id", f"the person `{one.person}` {NOTHING_TO_LIFT}")
        await self.journal.begin(one)
        change = await self._applied(one)
        if change is None:
            await self.journal.done(one, strike=Strike(one.at, 0, PENDING))
            return Done(one, applied=False)
        before, after = change.before.state, change.after.state
        await self.journal.done(one, strike=Strike(change.at, change.seq, kind, before, after))
        return Done(one, applied=True, state=after)

    async def _applied(self, one: Person) -> Change | None:
        """Change the standing in Redis; None where that cannot be done now: then the rebuild does it.

        By the number of the last change: a command that Redis answers too late, behind the rebuild, does nothing.
        """
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                while True:
                    seq = (await self.ledger.look(one.person)).seq
                    with suppress(Changed):
                        if one.kind == "suspend":
                            return await self.ledger.suspend(one.person, one.until, seq=seq, name=one.id)
                        if one.kind == "uphold":
                            return await self.ledger.uphold(one.person, one.id, seq=seq)
                        return await self.ledger.lift(one.person, seq=seq, name=one.id)
        except (RedisError, OSError, Incomplete) as error:
            log.warning("%s of %s is on record and is done later: %r", one.kind, one.person, error)
            return None

    async def _place(self, kind: str, person: str, until: int | None, reason: str, by: str) -> Done:
        if until is not None and until <= now_ms() // 1_000:
            raise MeasureRefused("until", "is over already", conflict=False)
        known = await self.main(person)
        async with self.engine.begin() as connection:
            await alone(connection, people_changes)
            until_ms = UNTIL_LIFTED if until is None else until * 1_000
            one = measure(kind, await register.main_of(connection, known), reason, by, until=until_ms)
            await register.place(connection, kind, one.person, until, reason, by, one.at // 1_000)
            await register.changed(connection)
            await self.journal.begin(one)
        return await self._told(one)

    async def _end(self, kind: str, person: str, reason: str, by: str) -> Done:
        known = await self.main(person)
        async with self.engine.begin() as connection:
            await alone(connection, people_changes)
            one = measure(f"un{kind}", await register.main_of(connection, known), reason, by)
            if not await register.end(connection, kind, one.person, reason, by, one.at // 1_000):
                what = "banned" if kind == "ban" else "exempt"
                raise MeasureRefused("id", f"the person `{one.person}` is not {what}")
            await register.changed(connection)
            await self.journal.begin(one)
        return await self._told(one)

    async def _told(self, one: Person) -> Done:
        await self.journal.done(one)
        await self.publish()
        return Done(one, applied=True)
