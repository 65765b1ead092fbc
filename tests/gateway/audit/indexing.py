"""Records of turns, and how a test brings them into the index without a log."""

import time
from itertools import count
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Accepted, AnyRecord, Applied, Decision, Finished, Found, Person, Strike, Text
from gateway.audit.index import Index
from gateway.audit.sinks import Heard
from policies.strikes import Record, Rule

NOW = time.time_ns() // 1_000_000
_numbers = count(1)


async def index(engine: AsyncEngine, *records: AnyRecord, writer: str = "n-w0") -> None:
    """Have the index take *records* in one transaction, as the follower does."""
    async with engine.begin() as connection:
        await Index().take(connection, [Heard(writer, next(_numbers), record) for record in records])


def kept(text: str) -> Text:
    return Text(len(text), "5" * 64, text)


def refusal(entry: int | str, risk: str = "A1a", action: str = "refuse") -> Decision:
    return Decision(action, risk, (Found("keywords.in", str(entry), 0, 2),))


def begin(name: str, at: int = NOW, **fields: Any) -> Accepted:
    return Accepted(at=at, id=name, **{"route": "chat", "key": "k1", "person": "p", "user": "u", **fields})


def end(name: str, at: int = NOW, **fields: Any) -> Finished:
    return Finished(at=at, id=name, **{"outcome": "ok", **fields})


class Talk:
    """A person's turns and what they count, by the real rule."""

    def __init__(self, person: str = "p", rule: Rule | None = None) -> None:
        self.person = person
        self.record = Record(rule or Rule())
        self.at = NOW - 10_000_000
        self.made: list[str] = []

    def say(self, *, bad: bool, pending: bool = False, killed: bool = False) -> list[AnyRecord]:
        """Return the records of the next turn; it is called by the number it was said as, from 1."""
        self.at += 60_000
        name = f"{self.person}{len(self.made) + 1}"
        self.made.append(name)
        before = self.record.state
        event = self.record.count(name, self.at, violation=bad)
        strike = Strike(self.at, len(self.made), event, before, self.record.state)
        if pending:
            strike = Strike(self.at, event="pending")
        counts = "violation" if bad else "clean"
        first = begin(name, self.at, person=self.person, counts=counts)
        last = end(name, self.at, strike=strike if event else None)
        return [first] if killed else [first, last]

    def uphold(self, kind: str = "uphold") -> list[Person | Applied]:
        """Return the records of an appeal that is upheld, or of a lift: before it is done, and when it is."""
        self.at += 60_000
        before = self.record.state
        (self.record.uphold if kind == "uphold" else self.record.lift)(self.at)
        strike = Strike(self.at, 99, kind, before, self.record.state)
        begun = Strike(self.at - 1)
        return [
            Person(
                at=self.at - 1, id=f"m{self.at}", person=self.person, kind=kind, strike=begun, by="admin", reason="why"
            ),
            Applied(at=self.at, id=f"m{self.at}", person=self.person, strike=strike),
        ]

    def wait(self, milliseconds: int) -> None:
        self.at += milliseconds
