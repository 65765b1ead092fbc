"""What of the segments of this gateway's audit log counts for standings."""

import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.chain import GENESIS
from gateway.audit.entries import Accepted, Applied, Finished, Judged, Person, decode
from gateway.audit.follower import behind
from gateway.audit.heads import writers
from gateway.audit.retention import start
from gateway.audit.segments import Broken, Cursor, Head, read, settled
from gateway.people.replay import MEASURES, Event
from gateway.people.standing import PENDING

log = logging.getLogger(__name__)

LONGEST_LOOKS = 7_200
"""Looks, and seconds, after which no end of a clean turn is awaited any more."""
_COUNTED = (b'"counts":', b'"strike":', b'"t":"person"')


@dataclass
class Events:
    """What counts in the segments under *root*, read on from where the last look ended."""

    root: Path
    people: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    newest: int = 0
    """The highest number of a change that is on record."""
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
                self._open[turn.id] = event = Event(
                    turn.person, turn.counts, turn.at, 0, turn.utterance, id=turn.id, ended=False
                )
                if turn.counts == "violation":
                    self.people[turn.person].append(event)
            case (Finished() | Applied()) as end:
                self._end(end)
            case Person() as one if one.kind in MEASURES:
                self._measure(one)

    def _measure(self, one: Person) -> None:
        strike = one.strike
        self.newest = max(self.newest, strike.seq)
        event = self._measures.get(one.id)
        if event is None:
            event = Event(one.person, one.kind, strike.at, strike.seq, until=one.until, id=one.id, settled=not one.id)
            self.people[one.person].append(event)
        if one.id:
            event.looks = 0
            self._open[one.id] = self._measures[one.id] = event

    def _end(self, end: Finished | Applied) -> None:
        self.newest = max(self.newest, end.strike.seq if end.strike is not None else 0)
        event = self._open.pop(end.id, None)
        if event is None or end.strike is None:
            return
        if event.kind == "clean":
            self.people[event.person].append(event)
        event.ended, counted = True, end.strike.event != PENDING
        if counted or not (
            event.settled or event.kind in MEASURES
        ):  # else the replay, or the record of a measure, has its moment
            event.at, event.seq = end.strike.at, end.strike.seq
        event.settled = event.settled or counted
