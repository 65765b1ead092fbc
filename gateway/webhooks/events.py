"""From records of the log to what receivers are told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.entries import Finished, Person, Strike, Struck
from gateway.audit.sinks import Heard
from gateway.people.journal import FOUND
from gateway.webhooks.rules import Event
from policies.strikes import SUSPENDED_ROW, SUSPENDING, UNTIL_LIFTED

KINDS = {
    "suspend": Event.SUSPENDED,
    "lift": Event.LIFTED,
    "uphold": Event.UPHELD,
    "ban": Event.BANNED,
    "unban": Event.UNBANNED,
}
"""Kinds of `Person` records that are told; the others concern nobody outside."""
ENDLESS = frozenset({Event.SUSPENDED, Event.BANNED})
"""Events that have an end, or none."""

Names = Callable[[AsyncConnection, str], Awaitable[tuple[str, str] | None]]
"""Finds tenant and name of a person by their id, in the transaction in which the log is read."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened to a person. *at* and *until* are Unix seconds; *until* None: no end is set."""

    id: str
    """The same whenever the record is read, so that it is told once."""
    event: Event
    at: int
    person: str
    tenant: str = ""
    user: str = ""
    until: int | None = None
    reason: str = ""
    by: str = ""
    content_id: str = ""

    def body(self) -> bytes:
        """Return what is sent, byte by byte: the signature is over it."""
        told: dict[str, Any] = {"id": self.id, "type": self.event.value, "at": self.at, "person": self.person}
        if self.event in ENDLESS:
            told["until"] = self.until
        rest = {"tenant": self.tenant, "user": self.user, "reason": self.reason, "by": self.by}
        rest["content_id"] = self.content_id
        return msgspec.json.encode(told | {name: value for name, value in rest.items() if value})


def message(heard: Heard) -> Message | None:
    """Return what is to be told of a record, if anything is."""
    record = heard.record
    if isinstance(record, Person) and record.kind == FOUND:
        return _suspended(Struck(record.person), record.strike)
    if isinstance(record, Person) and record.kind in KINDS:
        return Message(
            id=_id(record.id or f"{heard.writer}:{heard.seq}"),  # what is on record twice, after a kill, is one
            event=KINDS[record.kind],
            at=record.strike.at // 1_000,
            person=record.person,
            until=_seconds(record.until),
            reason=record.reason,
            by=record.by,
        )
    if not isinstance(record, Finished) or record.strike is None or record.struck is None:
        return None
    return _suspended(record.struck, record.strike, record.id) if record.strike.event in SUSPENDING else None


def _suspended(struck: Struck, strike: Strike, content_id: str = "") -> Message:
    """Return that the rule has suspended somebody: one message, also where a turn and a replay both tell it."""
    return Message(
        id=_id(f"suspended:{struck.person}:{strike.at}"),
        event=Event.SUSPENDED,
        at=strike.at // 1_000,
        person=struck.person,
        tenant=struck.tenant,
        user=struck.user,
        until=_seconds(strike.after.until),
        reason="violations in a row" if strike.event == SUSPENDED_ROW else "violations on one day",
        content_id=content_id,
    )


def _id(name: str) -> str:
    return f"evt_{sha256(name.encode()).hexdigest()[:32]}"


def _seconds(until: int) -> int | None:
    """Return the end in Unix seconds; a record without one says 0."""
    return None if until in {0, UNTIL_LIFTED} else until // 1_000
