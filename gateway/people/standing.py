"""The standing of whoever speaks: what a turn asks for before it asks an engine, and what it counts."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Protocol

from redis.exceptions import RedisError

from gateway.audit.entries import Strike
from gateway.people.directory import Directory
from gateway.people.ledger import Incomplete, Ledger, Stamped
from gateway.people.watch import Watch
from gateway.problems import Problem
from gateway.relay.identity import Person
from policies.strikes import GOOD, UNTIL_LIFTED, State

log = logging.getLogger(__name__)

PENDING = "pending"
"""Event of an utterance that Redis could not count."""
AWAY = "Nobody's standing can be read now."
COUNT_SECONDS = 1.0
"""For Redis to count an utterance; then it is counted from the audit log later."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands. Nobody, and whoever is exempt, is always in good standing."""

    id: str = ""
    """The person's opaque id; empty: nobody is named."""
    counted: bool = False
    """Whether violations are counted at all."""
    state: State = GOOD
    banned: bool = False
    closed_until: int | None = None
    """Unix milliseconds until which the person is not answered; `UNTIL_LIFTED`: no end is set; None: is answered."""


NOBODY = Standing()


class Standings(Protocol):
    """Keeps the standing of each person; None is nobody."""

    async def check(self, person: Person | None, now: float, *, exempt: bool = False) -> Standing:
        """Return the standing at *now* (Unix seconds); *exempt*: the caller's people are never struck."""

    async def count(self, standing: Standing, utterance: str, turn: str, *, violation: bool) -> Strike:
        """Count an utterance of the person of *standing*; the same words within a short time count once.

        *turn*: the id under which it is on record.
        """


class Uncounted:
    """Nobody is ever struck: where strikes are switched off. Bans hold all the same."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory

    async def check(self, person: Person | None, now: float, *, exempt: bool = False) -> Standing:
        del exempt
        if person is None:
            return NOBODY
        found = self.directory.id_of(person)
        return _banned(self.directory, found, now) or Standing(found)

    async def count(self, standing: Standing, utterance: str, turn: str, *, violation: bool) -> Strike:
        del standing, utterance, turn, violation
        return Strike(at=time.time_ns() // 1_000_000)


class Kept:
    """Standings as Redis has them; what cannot be counted now is left to the audit log."""

    def __init__(self, ledger: Ledger, watch: Watch, directory: Directory, *, closed: bool = False) -> None:
        self.closed = closed
        self.ledger = ledger
        self.watch = watch
        self.directory = directory

    async def check(self, person: Person | None, now: float, *, exempt: bool = False) -> Standing:
        if person is None:
            return NOBODY
        found = self.directory.id_of(person)
        banned = _banned(self.directory, found, now)
        if banned is not None:
            return banned
        if exempt or self.directory.exempt(found, now):
            return Standing(found)
        watch = self.watch
        known = watch.known.get(found) if watch.fresh else await self._ask(found)
        if known is None:
            return Standing(found, counted=True)
        state = known.state
        return Standing(found, True, state, closed_until=state.until if state.suspended(int(now * 1000)) else None)

    async def _ask(self, person: str) -> Stamped | None:
        found = await self.watch.find(person)
        if found is None and self.closed:
            raise Problem(503, AWAY, kind="server_error", code="standing_unknown", retry_after=1)
        return found

    async def count(self, standing: Standing, utterance: str, turn: str, *, violation: bool) -> Strike:
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                change = await self.ledger.count(standing.id, utterance, violation=violation, name=turn)
        except (RedisError, OSError, Incomplete) as error:  # TimeoutError is an OSError
            log.warning("an utterance of %s is counted from the audit log later: %r", standing.id, error)
            return Strike(at=time.time_ns() // 1_000_000, event=PENDING)
        self.watch.take(standing.id, change.after)
        return Strike(change.at, change.seq, change.event, change.before.state, change.after.state)


def _banned(directory: Directory, person: str, now: float) -> Standing | None:
    """Return the standing of a person who is banned at *now* (Unix seconds)."""
    ban = directory.ban(person, now)
    if ban is None:
        return None
    return Standing(person, banned=True, closed_until=UNTIL_LIFTED if ban.until is None else ban.until * 1000)
