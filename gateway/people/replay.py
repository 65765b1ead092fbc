"""What the log says of one person, replayed by the rule: their standing, and what a repeat is known by. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.people.ledger import Change, Stamped
from policies.strikes import Record, Rule, Seen, State

UNDERWAY_LOOKS = 5
"""Looks at the log after which what was to be counted, and has no end, is taken for killed."""
MEASURES = frozenset({"suspend", "lift", "uphold"})
"""What changes a standing of the things that are done about people; the others stand in SQL."""


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
    """Of what an admin did; the same of what is done again."""
    looks: int = 0
    """How often it was looked at without an end."""
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


def replayed(events: Iterable[Event], rule: Rule) -> Replayed:
    """Return what *events* of one person give, in the order of moment and number."""
    record, upheld = Record(rule), dict[str, Change]()
    for event in sorted(events, key=lambda one: (one.at, one.seq)):
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
    return Replayed(record.state, record.seen, upheld)
