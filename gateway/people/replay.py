"""What the logs say of one person, replayed by the rule: their standing, and what a repeat is known by. Pure.

A replay may only take the place of what the state server has when it has seen all that the state server has counted.
So the state server remembers what that was: what no log here has yet is taken from there, and where even that is gone,
`unexplained` tells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.people.ledger import ENTRIES, Account, Change, Entry, Stamped
from policies.strikes import Record, Rule, Seen, State

UNDERWAY_LOOKS = 5
"""Looks at the log after which what was to be counted, and has no end, is taken for killed."""
MEASURES = frozenset({"suspend", "lift", "uphold"})
"""What changes a standing of the things that are done about people; the others stand in SQL."""


_NOTED = (3, 0, 0)
"""Of what the state server remembers: it knows more of a turn than another log that has no end of it, see `merged`."""


@dataclass(slots=True)
class Event:
    """Something that counts: an utterance, or what an admin did (*kind*: ``lift``, ``uphold``, ``suspend``)."""

    person: str
    kind: str
    at: int
    seq: int = 0
    utterance: str = ""
    until: int = 0
    id: str = ""
    """Of the turn, or of what an admin did; the same of what is done again. Empty in records of old alone."""
    looks: int = 0
    """How often it was looked at without an end."""
    ended: bool = True
    """Whether the log has its end, and with that when it counted."""
    settled: bool = False
    """Whether it was counted, or seen to by a rebuild."""

    @property
    def killed(self) -> bool:
        """Whether it counts and will have no end; a clean utterance without one does not count."""
        return self.kind != "clean" and self.looks > UNDERWAY_LOOKS


class Replayed(NamedTuple):
    """What events give."""

    state: State
    seen: Mapping[str, Seen]
    """The utterances that were counted: the same words again soon after are no new ones."""
    upheld: Mapping[str, Change]
    """What each appeal that was upheld did: by its id, so that it is not done again."""
    counted: Sequence[Event] = ()
    """Those of the events that changed the standing."""

    def entries(self, account: Account) -> dict[str, Entry]:
        """Return what *account* does not remember of what was counted, the newest, as far as there is room."""
        lacking = [event for event in self.counted if event.id and event.id not in account.entries]
        room = max(0, ENTRIES - len(account.entries))
        newest = lacking[len(lacking) - min(room, len(lacking)) :]
        return {one.id: Entry(one.kind, one.at, one.until, one.utterance, one.seq) for one in newest}


def merged(person: str, own: Iterable[Event], others: Iterable[Event], account: Account) -> list[Event]:
    """Return all that counts of a person, each once: of the *own* log, of the *others'*, and what neither has yet.

    What stands in several places is the same whoever looks. A log knows best when something counted, the first time
    where two gateways were asked for it; but of a turn whose end the others' log does not have the state server does.
    One of our own that was killed counts from its begin, as after a loss of the state server.
    """
    found: dict[object, Event] = {
        name: Event(person, one.kind, one.at, one.seq, one.utterance, one.until, name, settled=True)
        for name, one in account.entries.items()
    }
    ranks = dict.fromkeys(found, _NOTED)
    for event, without_end in (*((one, 2) for one in own), *((one, 4) for one in others)):
        name = event.id or (event.at, event.seq)
        rank = (0 if event.seq else 1 if event.ended else without_end, event.at, event.seq)
        if name not in ranks or rank < ranks[name]:
            found[name], ranks[name] = event, rank
    return list(found.values())


def unexplained(events: Iterable[Event], account: Account) -> set[int]:
    """Return the numbers of changes that the state server has made and that *events* do not have.

    They may be what another gateway counted, and has not yet brought into the database: then its standing is more than
    a replay. Every entry says which change was before it, so that none is missed, back to the last rebuild.
    """
    known = {0, account.rebuilt, *(event.seq for event in events), *(one.seq for one in account.entries.values())}
    made = {one.before for one in account.entries.values() if one.seq > account.rebuilt}
    return {account.standing.seq, *made} - known


def replayed(events: Iterable[Event], rule: Rule) -> Replayed:
    """Return what *events* of one person give, in the order of moment, number and id, so that all gateways agree."""
    record, upheld, counted = Record(rule), dict[str, Change](), list[Event]()
    for event in sorted(events, key=lambda one: (one.at, one.seq, one.id)):
        before = record.state
        match event.kind:
            case "suspend":
                record.suspend(event.at, event.until)
            case "lift":
                record.lift(event.at)
            case "uphold" if event.id in upheld:
                pass  # it was asked for again, at another gateway
            case "uphold":
                record.uphold(event.at)
                stamped = Stamped(before), Stamped(record.state, event.seq)
                upheld[event.id or f"{event.at}/{event.seq}"] = Change(event.seq, event.at, event.kind, *stamped)
            case kind:
                record.count(event.utterance, event.at, violation=kind == "violation")
        if record.state is not before:
            counted.append(event)
    return Replayed(record.state, record.seen, upheld, counted)
