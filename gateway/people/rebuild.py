"""Standings from the audit log: after a loss of the state server, and for what it could not count.

The log is the truth. What was counted stands in it with the moment and the number that the script gave it, what was
not with its own moment; replayed in that order by the rule they give the standing. What an admin does is on record
before it is done, and again with moment and number when it is done: what was not, is done from here.
"""

import asyncio
import logging
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from gateway.audit.chain import GENESIS
from gateway.audit.entries import Accepted, Applied, Finished, Judged, Person, decode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.follower import behind
from gateway.audit.heads import writers
from gateway.audit.retention import start
from gateway.audit.segments import Broken, Cursor, Head, read, settled
from gateway.people.journal import Journal, suspension
from gateway.people.ledger import Changed, Incomplete, Ledger
from gateway.people.replay import MEASURES, UNDERWAY_LOOKS, Event, replayed
from gateway.people.standing import PENDING
from policies.strikes import BY_HAND

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
LONGEST_LOOKS = 7_200
"""Looks, and seconds, after which no end of a clean turn is awaited any more."""
TRIES = UNDERWAY_LOOKS + 3
"""Looks of a rebuild by hand, until it leaves alone whoever is speaking all the time."""
LATE_LOOKS = 5
"""Looks for what another gateway counted to reach the database; its index is a second behind."""
REBUILDING_SECONDS = 60
"""For one of several gateways to rebuild all standings."""
_COUNTED = (b'"counts":', b'"strike":', b'"t":"person"')


@dataclass
class Events:
    """What counts in the segments under *root*, read on from where the last look ended."""

    root: Path
    people: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    _open: dict[str, Event] = field(default_factory=dict)
    _measures: dict[str, Event] = field(default_factory=dict)
    """What admins did, by id: what is asked for again after a kill is on record twice, and is one."""
    _cursors: dict[Path, Cursor] = field(default_factory=dict)

    def look(self) -> None:
        """Read what is new, and know how often each turn was without an end."""
        for event in self._open.values():
            event.looks += 1
        self.read()
        oldest = time.time_ns() // 1_000_000 - LONGEST_LOOKS * 1000
        for turn, event in list(self._open.items()):
            if event.looks > LONGEST_LOOKS or (event.kind == "clean" and event.at < oldest):
                del self._open[turn]

    def read(self) -> None:
        """Read what is new, also behind a record that was changed or lost; `gateway audit verify` tells where."""
        for directory in writers(self.root):
            try:
                while (hole := self._read(directory)) is not None:
                    following = behind(directory, hole, settled(directory) or Head(0, GENESIS))
                    if following is None or following == self._cursors.get(directory):
                        break
                    self._cursors[directory] = following
                    log.error("standings: read on behind a hole in the log of %s: %s", directory.name, hole)
            except OSError as error:
                log.error("standings: the log of %s cannot be read on: %s", directory.name, error)  # noqa: TRY400

    def _read(self, directory: Path) -> Broken | None:
        """Read what is new of one writer; return the hole that ends it."""
        try:
            cursor = self._cursors.get(directory) or start(directory, None)
            for row in read(directory, cursor):
                self._cursors[directory] = row.cursor
                if any(mark in row.body for mark in _COUNTED):
                    self._take(row.body)
        except Broken as hole:
            return hole
        return None

    def unsettled(self) -> set[str]:
        """Return who said something that was not counted, or whose turn was killed while it was."""
        return {p for p, events in self.people.items() if any(not e.settled for e in events)} - self.underway()

    def underway(self) -> set[str]:
        """Return who is saying something now: what becomes of it is not on record yet."""
        return {event.person for event in self._open.values() if not event.killed}

    def settle(self, person: str) -> None:
        """Know that the standing of *person* is what their events give."""
        for event in self.people.get(person, ()):
            event.settled = True

    def _take(self, body: bytes) -> None:
        match decode(body):
            case (Accepted() | Judged()) as turn if turn.counts:
                self._open[turn.id] = event = Event(turn.person, turn.counts, turn.at, utterance=turn.utterance)
                if turn.counts == "violation":
                    self.people[turn.person].append(event)
            case (Finished() | Applied()) as end:
                self._end(end)
            case Person() as one if one.kind in MEASURES:
                self._measure(one)

    def _measure(self, one: Person) -> None:
        strike = one.strike
        event = self._measures.get(one.id)
        if event is None:
            event = Event(one.person, one.kind, strike.at, strike.seq, until=one.until, id=one.id, settled=not one.id)
            self.people[one.person].append(event)
        if one.id:
            event.looks = 0
            self._open[one.id] = self._measures[one.id] = event

    def _end(self, end: Finished | Applied) -> None:
        event = self._open.pop(end.id, None)
        if event is None or end.strike is None:
            return
        if event.kind == "clean":
            self.people[event.person].append(event)
        counted = end.strike.event != PENDING
        if counted or not (event.settled or event.id):  # else the replay, or the record of a measure, has its moment
            event.at, event.seq = end.strike.at, end.strike.seq
        event.settled = event.settled or counted


class Others(Protocol):
    """What people said at other gateways: see `gateway.people.elsewhere`."""

    async def people(self) -> set[str]:
        """Return who has events elsewhere."""

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
        self._late: dict[str, int] = {}
        """How often somebody was left alone, since a change of theirs was not in the database yet."""

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
        if self.others is not None and self._epoch != epoch:  # another gateway has rebuilt them, or may have
            self._epoch = epoch
            return (await self.compare())[0]
        before, self._sequence = self._sequence, await self.ledger.sequence()
        if self._sequence < before:
            log.error("standings: the state server went back from change %d to %d", before, self._sequence)
            return (await self.compare())[0]
        behind = {person: (await self.ledger.look(person)).seq for person in self.events.unsettled()}
        if not behind:
            return 0
        # An utterance is on record before it is counted. So the log is read after the numbers: what they cover is in
        # it or underway, and what is counted later changes them.
        await asyncio.to_thread(self.events.read)
        return sum([await self._caught_up(person, behind[person]) for person in behind.keys() - self.events.underway()])

    async def all(self) -> int:
        """Rebuild the standing of everybody who ever counted, then say that all are there.

        One of several gateways does it; the others compare what they know once it is done.
        """
        if self.others is not None and not await self.ledger.claim(REBUILDING_SECONDS):
            return 0
        people = {*self.events.people, *(await self.others.people() if self.others is not None else ())}
        for person in people:
            await self._set(person, await self._events(person), None)
        self._epoch = secrets.token_hex(8)
        await self.ledger.open(self._epoch)
        log.info("the standings of %d people were rebuilt from the audit log", len(people))
        return len(people)

    async def compare(self) -> tuple[int, int]:
        """Bring everybody in line with the log beside a gateway that counts.

        Return for how many people it was done, and how many were left alone since they spoke all the time.
        """
        await asyncio.to_thread(self.events.look)
        if not await self.ledger.complete():
            return await self.all(), 0
        everybody = set(self.events.people)
        left = set(everybody)
        for again in range(TRIES):
            if again:
                await asyncio.sleep(LOOK_SECONDS)
                await asyncio.to_thread(self.events.look)
            found = {person: await self.ledger.look(person) for person in left}
            await asyncio.to_thread(self.events.read)
            for person in left - self.events.underway():
                same = found[person].state == replayed(await self._events(person), self.ledger.rule).state
                if same or await self._caught_up(person, found[person].seq):
                    left.discard(person)
            if not left:
                break
        return len(everybody) - len(left), len(left)

    async def unknown(self) -> int:
        """Return how many people of note there are of whom no log says anything: their standing stays as it is."""
        known = {*self.events.people, *(await self.others.people() if self.others is not None else ())}
        return len((await self.ledger.notable()).keys() - known)

    async def _events(self, person: str) -> list[Event]:
        """Return all that counts of a person, wherever they said it."""
        own = self.events.people.get(person, [])
        return own if self.others is None else [*own, *await self.others.events(person)]

    async def _caught_up(self, person: str, seq: int) -> bool:
        """Set what the log gives, unless somebody was quicker; then the next look has it."""
        events = await self._events(person)
        if self._misses(person, events, seq):
            return False
        try:
            await self._set(person, events, seq)
        except Changed:
            return False
        return True

    def _misses(self, person: str, events: list[Event], seq: int) -> bool:
        """Return whether change *seq* may be one that another gateway made and the database does not have yet.

        It may also be that of a rebuild, which no log has: so it is waited for only so long.
        """
        if self.others is None or seq <= max((event.seq for event in events), default=0):
            self._late.pop(person, None)
            return False
        self._late[person] = self._late.get(person, 0) + 1
        if self._late[person] < LATE_LOOKS:
            return True
        del self._late[person]
        return False

    async def _set(self, person: str, events: list[Event], seq: int | None) -> None:
        found, now = replayed(events, self.ledger.rule), time.time_ns() // 1_000_000
        if self.journal is not None and found.state.suspended(now) and found.state.why != BY_HAND:
            await self.journal.begin(suspension(person, found.state))
        seen = {words: one for words, one in found.seen.items() if one.last > now - self.ledger.seen_ms}
        await self.ledger.set(person, found.state, seq, seen=seen, upheld=found.upheld)
        self.events.settle(person)
