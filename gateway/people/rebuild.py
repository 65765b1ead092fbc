"""Standings from the audit log: after a loss of the state server, and for what it could not count.

The log is the truth. What was counted stands in it with the moment and the number that the script gave it, what was
not with its own moment; replayed in that order by the rule they give the standing. What an admin does is on record
before it is done, and again with moment and number when it is done: what was not, is done from here.

The truth may have holes: another gateway's log comes by the database, and late where that gateway's control process is
down; a part of this one's may be damaged, or dropped with its age. So what holds is this: **a standing is replaced by
a replay of everything that the state server has counted of the person, or not at all.** What it has counted it
remembers by the ids that the log has, in the step that counts (`ledger.Entry`); what no log here has yet is replayed
from there. Where it has forgotten (of more than `ledger.ENTRIES` changes the oldest; what an older gateway counted) its
standing stays as it is, and what only this log has is counted on top of it. Ids are counted once, whoever does it.

All of that is lost with the state server. Then one gateway rebuilds what the logs say that it can read; and each
gateway that finds another life of the state server (its epoch), or begins, compares all that its own log has. So what
came into no database before the loss is added by whose it is. A state server that went back to an older copy is given
another epoch by whoever notices.
"""

import asyncio
import logging
import secrets
import time
from pathlib import Path
from typing import Protocol

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.errors import AuditUnavailable
from gateway.people.journal import Journal, suspension
from gateway.people.ledger import Account, Change, Changed, Incomplete, Ledger
from gateway.people.recorded import Events
from gateway.people.replay import UNDERWAY_LOOKS, Event, merged, replayed, unexplained
from policies.strikes import BY_HAND, State

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
TRIES = UNDERWAY_LOOKS + 3
"""Looks of a rebuild by hand, until it leaves alone whoever is speaking all the time."""
AT_ONCE = 500
"""People whose accounts are read before the log is read on."""
REBUILDING_SECONDS = 60
"""For one of several gateways to rebuild all standings."""


class Others(Protocol):
    """What people said at other gateways: see `gateway.people.elsewhere`."""

    async def people(self) -> set[str]:
        """Return who has events elsewhere."""

    async def newest(self) -> int:
        """Return the highest number of a change elsewhere."""

    async def events(self, person: str) -> list[Event]:
        """Return a person's events elsewhere."""


class Rebuilder:
    """Sees to it that the standings in Redis are those of the log; runs in the control process.

    *others*: what other gateways on the same state server have in their logs; None: there are none. *journal*: puts on
    record who is found to be suspended, so that it is told of; None: nobody is told.
    """

    def __init__(
        self, ledger: Ledger, root: Path, others: Others | None = None, journal: Journal | None = None
    ) -> None:
        self.ledger = ledger
        self.events = Events(root)
        self.others = others
        self.journal = journal
        self._epoch: str | None = None
        """The life of the state server that this log was compared with."""
        self._sequence = 0
        """The number of the last change that was seen; a lower one: the state server went back to an older copy."""
        self._doubtful: set[str] = set()
        """Who is to be compared with the log yet."""
        self._unexplained: dict[str, set[int]] = {}
        """Whose standing stays as the state server has it, and the changes that no log here has."""

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            try:
                await self.step()
            except (RedisError, OSError, Incomplete, SQLAlchemyError, AuditUnavailable) as error:
                log.warning("standings cannot be rebuilt now: %r", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def step(self) -> int:
        """Bring what is behind in line with the log; return the number of people it was done for."""
        await asyncio.to_thread(self.events.look)
        epoch = await self.ledger.epoch()
        if epoch is None:
            return await self.all()
        await self._notice(epoch)
        done = await self._compared(self._doubtful | self.events.unsettled())
        self._doubtful -= done | self._unexplained.keys()
        return len(done)

    async def all(self) -> int:
        """Rebuild the standing of everybody who ever counted, then say that all are there.

        One of several gateways does it; the others compare what they know once it is done.
        """
        if self.others is not None and not await self.ledger.claim(REBUILDING_SECONDS):
            return 0
        people = await self._everybody()
        others = await self.others.newest() if self.others is not None else 0
        await self.ledger.beyond(max(self._sequence, self.events.newest, others))
        for person in people:
            account = await self.ledger.account(person)
            if not await self._set(person, account, await self._events(person, account)):
                self._doubtful.add(person)  # somebody else rebuilds, too, and was quicker
        self._epoch = secrets.token_hex(8)
        await self.ledger.open(self._epoch)
        log.info("the standings of %d people were rebuilt from the audit log", len(people))
        return len(people)

    async def compare(self) -> tuple[int, int]:
        """Bring everybody in line with the log beside a gateway that counts.

        Return for how many people it was done, and how many were left alone, since they spoke all the time or a log is
        behind.
        """
        await asyncio.to_thread(self.events.look)
        if not await self.ledger.complete():
            return await self.all(), 0
        everybody = await self._everybody()
        left = set(everybody)
        for again in range(TRIES):
            if again:
                await asyncio.sleep(LOOK_SECONDS)
                await asyncio.to_thread(self.events.look)
            left -= await self._compared(left)
            if not left:
                break
        return len(everybody) - len(left), len(left)

    async def unknown(self) -> int:
        """Return how many people of note there are of whom no log says anything: their standing stays as it is."""
        return len((await self.ledger.notable()).keys() - await self._everybody())

    async def _everybody(self) -> set[str]:
        """Return who counted in any log that can be read here."""
        return {*self.events.people, *(await self.others.people() if self.others is not None else ())}

    async def _notice(self, epoch: str) -> None:
        """Doubt standings of another life of the state server than the one that this log was compared with."""
        sequence, newest = await self.ledger.sequence(), max(self._sequence, self.events.newest)
        if sequence < newest:  # the log was read before
            log.error("standings: the state server went back from change %d to %d", newest, sequence)
            self._doubtful |= await self._everybody()
            await self.ledger.beyond(newest)
            epoch = secrets.token_hex(8)
            await self.ledger.open(epoch)  # whoever did not notice compares, too
        elif self.others is not None and self._epoch != epoch:  # another gateway has rebuilt them, or may have
            self._doubtful |= self.events.people.keys()
        self._epoch, self._sequence = epoch, max(sequence, newest)

    async def _compared(self, people: set[str]) -> set[str]:
        """Bring *people* in line with the log; return for whom it was done, and leave alone who is speaking now."""
        done = set()
        left = list(people)
        while some := left[:AT_ONCE]:
            del left[:AT_ONCE]
            # An utterance is on record before it is counted. So the log is read after the accounts: what they have is
            # in it or underway, and what is counted later changes their numbers.
            accounts = {person: await self.ledger.account(person) for person in some}
            await asyncio.to_thread(self.events.read)
            for person in accounts.keys() - self.events.underway():
                if await self._in_line(person, accounts[person]):
                    done.add(person)
        return done

    async def _in_line(self, person: str, account: Account) -> bool:
        """Have a person's standing be what was counted; return whether it is. If somebody was quicker, it is not."""
        events = await self._events(person, account)
        if self.others is not None and (missing := unexplained(events, account)):
            await self._add(person)
            if self._unexplained.get(person) != missing:
                log.error("standings: that of %s stays: no log here has its changes %s", person, sorted(missing))
            self._unexplained[person] = missing
            return False
        self._unexplained.pop(person, None)
        if account.standing.state != replayed(events, self.ledger.rule).state:
            return await self._set(person, account, events)
        self.events.settle(person)
        return True

    async def _events(self, person: str, account: Account) -> list[Event]:
        """Return all that counts of a person, wherever they said it."""
        others = await self.others.events(person) if self.others is not None else ()
        return merged(person, self.events.people.get(person, ()), others, account)

    async def _set(self, person: str, account: Account, events: list[Event]) -> bool:
        """Set what *events* give; return whether nobody was quicker."""
        found = replayed(events, self.ledger.rule)
        await self._tell(person, found.state)
        oldest = time.time_ns() // 1_000_000 - self.ledger.seen_ms
        seen = {words: one for words, one in found.seen.items() if one.last > oldest}
        seq, entries = account.standing.seq, found.entries(account)
        try:
            await self.ledger.set(person, found.state, seq, seen=seen, upheld=found.upheld, entries=entries)
        except Changed:
            return False
        self.events.settle(person)
        return True

    async def _add(self, person: str) -> None:
        """Count on top of what the state server has what only this log has."""
        events = sorted(self.events.people.get(person, ()), key=lambda one: one.at)
        for event in [one for one in events if not one.settled]:
            change = await self._counted(event)
            await self._tell(person, change.after.state)
        self.events.settle(person)

    async def _counted(self, event: Event) -> Change:
        """Have an event counted, where it was not. Raises `Incomplete`."""
        ledger, person, at = self.ledger, event.person, event.at
        match event.kind:
            case "suspend":
                return await ledger.suspend(person, event.until, at, name=event.id)
            case "lift":
                return await ledger.lift(person, at, name=event.id)
            case "uphold":
                return await ledger.uphold(person, event.id, at)
            case kind:
                return await ledger.count(person, event.utterance, violation=kind == "violation", at=at, name=event.id)

    async def _tell(self, person: str, state: State) -> None:
        """Put on record who is suspended by the rule."""
        if self.journal is not None and state.suspended(time.time_ns() // 1_000_000) and state.why != BY_HAND:
            await self.journal.begin(suspension(person, state))
