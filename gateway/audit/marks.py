"""Which turns an upheld appeal speaks of: those that made up the suspension that it takes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.tables import audit_events, audit_turns
from policies.strikes import GOOD, IN_A_DAY, IN_A_ROW, RESET, STRUCK, SUSPENDED_DAY, SUSPENDING, State

UPHELD = "upheld"
APPLIED = "applied"
"""Kind of the events that have what came of a measure; one that is only begun has not."""
SUSPEND, LIFT, UPHOLD = "suspend", "lift", "uphold"
CHANGING = frozenset({SUSPEND, LIFT, UPHOLD})
"""Measures that change a standing; the last two begin a row and a day anew."""
PENDING = "pending"
"""Event of a violation that was counted from the log later: its row and day are not on record."""
COUNTED = SUSPENDING | {STRUCK}
ASKED_AT_ONCE = 500
"""People in one query."""
LOOKED_AT = 200
"""Turns of a person that are looked at, the newest before the appeal."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one turn did to a person's standing."""

    number: int
    event: str | None
    """None: the turn was killed, and its violation was counted from the log later."""
    before: State = GOOD
    after: State = GOOD


def made_up(said: Sequence[Said], suspension: State) -> list[int]:
    """Return the numbers of the turns that made up *suspension*, a standing as it was before the appeal was upheld.

    *said*: what counted since the last lift, the newest first. The turn that suspended tells how many there were in
    its row, or on its day. Where it does not stand there (the strike was counted from the log), it is as many as the
    standing had on that day, or all back to the last clean utterance. Of a suspension by hand there are none.
    """
    if suspension.why not in {IN_A_ROW, IN_A_DAY}:
        return []
    last = next((i for i, s in enumerate(said) if s.event in SUSPENDING and s.after.last == suspension.last), None)
    if last is not None:
        turn = said[last]
        daily = turn.event == SUSPENDED_DAY
        many = (turn.before.today if daily else turn.before.row) + 1
        return [one.number for one in said[last:] if one.event in COUNTED][:many]
    if suspension.why == IN_A_DAY:
        return [one.number for one in said if one.event != RESET][: suspension.today]
    row = next((i for i, one in enumerate(said) if one.event == RESET), len(said))
    return [one.number for one in said[:row]]


async def mark(connection: AsyncConnection, person: str, at: int, suspension: State) -> None:
    """Mark the turns of an appeal that was upheld at the Unix millisecond *at*; safe to repeat."""
    since = await _last_lift(connection, person, at)
    turns = audit_turns.c
    moment = func.coalesce(turns.strike_at, turns.accepted_at)
    counts = or_(
        turns.strike_event.in_([*sorted(COUNTED), RESET, PENDING]),
        and_(turns.counts == "violation", turns.finished_at.is_(None)),
    )
    query = (
        select(turns.number, turns.accepted_at, turns.strike_event, turns.strike)
        .where(turns.person == person, counts, moment > since, moment <= at)
        .order_by(moment.desc(), turns.number.desc())
        .limit(LOOKED_AT)
    )
    rows = (await connection.execute(query)).all()
    chosen = set(made_up([_said(row) for row in rows], suspension))
    for row in rows:
        if row.number in chosen:
            where = (turns.number == row.number, turns.accepted_at == row.accepted_at)
            await connection.execute(update(audit_turns).where(*where).values(mark=UPHELD))


async def mark_again(connection: AsyncConnection, since: dict[str, int]) -> None:
    """Mark for the appeals of these people that were upheld after the given moments (Unix ms).

    Nodes and writers are read each at its own pace, so that a turn may be heard of after its appeal.
    """
    events, names = audit_events.c, sorted(since)
    query = select(events.target, events.at, events.details).where(events.kind == APPLIED, events.action == UPHOLD)
    for i in range(0, len(names), ASKED_AT_ONCE):
        people = names[i : i + ASKED_AT_ONCE]
        for row in (await connection.execute(query.where(events.target.in_(people)))).all():
            if row.at >= since[row.target]:
                await mark(connection, row.target, row.at, suspension_of(row.details))


def suspension_of(details: dict[str, Any]) -> State:
    """Return the standing before an event, of its row's details."""
    return msgspec.convert(details["strike"].get("before", {}), State)


async def _last_lift(connection: AsyncConnection, person: str, at: int) -> int:
    events = audit_events.c
    query = select(func.max(events.at)).where(
        events.kind == APPLIED, events.target == person, events.action.in_([LIFT, UPHOLD]), events.at < at
    )
    found: int | None = (await connection.execute(query)).scalar()
    return found or 0


def _said(row: Any) -> Said:
    strike = row.strike or {}
    before, after = (msgspec.convert(strike.get(name, {}), State) for name in ("before", "after"))
    return Said(row.number, row.strike_event, before, after)
