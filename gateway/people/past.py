"""What happened to people: suspensions with who, why, when and level, lifts, bans, exemptions, aliases.

Made from the index of the audit log: suspensions by the strike rule stand in the turns that brought them, the rest in
the events. A suspension that was only found when violations were counted from the log later stands in neither.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.marks import APPLIED, CHANGING, PENDING, SUSPEND
from gateway.audit.search import Place
from gateway.audit.tables import audit_events, audit_turns
from gateway.people.measures import Done
from gateway.people.register import ids_of
from policies.strikes import BY_HAND, IN_A_DAY, IN_A_ROW, SUSPENDING, UNTIL_LIFTED, State

MOST_NAMES = 500
"""Ids of one person under which is looked."""
WHY = {IN_A_ROW: "in_a_row", IN_A_DAY: "in_a_day", BY_HAND: "by_hand"}
TURNS, EVENTS = 0, 1
"""Where it stands: told by the last bit of `Place.number`."""

NONE = {"by": "", "reason": "", "content_id": None, "alias": None, "measure": None}
"""What an event says of what it has not."""
Happened = tuple[Place, dict[str, Any]]


class Past:
    """Reads what happened to one person, under all of their names."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def page(
        self, person: str, limit: int, after: Place | None = None
    ) -> tuple[list[dict[str, Any]], Place | None]:
        """Return the *limit* newest from behind *after*, and where the next page begins; None: there is none."""
        async with self.engine.connect() as connection:
            ids = (await ids_of(connection, person))[:MOST_NAMES]
            found = await _suspensions(connection, ids, limit + 1, after)
            found += await _measures(connection, ids, limit + 1, after)
        found.sort(key=lambda one: one[0], reverse=True)
        shown = found[:limit]
        return [document for _, document in shown], shown[-1][0] if len(found) > limit else None


async def _suspensions(
    connection: AsyncConnection, ids: Sequence[str], limit: int, after: Place | None
) -> list[Happened]:
    """Return suspensions by the strike rule."""
    turns = audit_turns.c
    query = (
        select(turns.number, turns.id, turns.person, turns.strike_at, turns.strike, turns.writer, turns.seq)
        .where(turns.person.in_(ids), turns.strike_event.in_(SUSPENDING))
        .where(_behind(turns.strike_at, turns.number, TURNS, after))
        .order_by(turns.strike_at.desc(), turns.number.desc())
        .limit(limit)
    )
    found = []
    for row in (await connection.execute(query)).all():
        state = _after(row.strike)
        told = {"why": WHY.get(state.why), "until": _seconds(state.until), "level": state.level, "applied": True}
        document = _document(row, row.strike_at, SUSPEND, row.person, {**told, "content_id": row.id})
        found.append((Place(row.strike_at, 2 * row.number + TURNS), document))
    return found


async def _measures(connection: AsyncConnection, ids: Sequence[str], limit: int, after: Place | None) -> list[Happened]:
    """Return what was done by somebody, with what came of it."""
    events = audit_events.c
    query = (
        select(audit_events)
        .where(events.kind == "person", or_(events.target.in_(ids), events.alias.in_(ids)))
        .where(_behind(events.at, events.number, EVENTS, after))
        .order_by(events.at.desc(), events.number.desc())
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    names = [row.id for row in rows if row.id is not None]
    ends = select(events.id, events.action, events.details).where(events.kind == APPLIED, events.id.in_(names))
    applied = {row.id: row for row in (await connection.execute(ends)).all()}
    return [(Place(row.at, 2 * row.number + EVENTS), _measure(row, applied.get(row.id))) for row in rows]


def _measure(row: Any, end: Any | None) -> dict[str, Any]:
    """Return what is shown of a measure, of which *end* tells what came; None: that is not on record."""
    details = row.details or {}
    told = {
        "by": row.by,
        "reason": details.get("reason", ""),
        "why": WHY[BY_HAND] if row.action == SUSPEND else None,
        "until": _seconds(details.get("until", 0)),
        "level": _after(end.details["strike"]).level if end is not None and end.action in CHANGING else None,
        "applied": end is not None and end.action != PENDING,
        "alias": row.alias,
        "measure": row.id,
    }
    return _document(row, row.at, row.action, row.target, told)


def done_now(done: Done) -> dict[str, Any]:
    """Return what is shown of a measure that the index has not heard of yet."""
    one = done.measure
    told = {
        "by": one.by,
        "reason": one.reason,
        "why": WHY[BY_HAND] if one.kind == SUSPEND else None,
        "until": _seconds(one.until),
        "level": done.state.level if done.state is not None else None,
        "applied": done.applied,
        "measure": one.id,
    }
    return {"at": one.at // 1_000, "kind": one.kind, "person": one.person, **NONE, **told, "record": None}


def _document(row: Any, at: int, kind: str, person: str, told: dict[str, Any]) -> dict[str, Any]:
    """Return what happened as it is shown; times in Unix seconds."""
    where = {"writer": row.writer, "seq": row.seq}
    return {"at": at // 1_000, "kind": kind, "person": person, **NONE, **told, "record": where}


def _after(strike: dict[str, Any]) -> State:
    return msgspec.convert(strike.get("after", {}), State)


def _seconds(until: int) -> int | None:
    """Return the end in Unix seconds; None: no end is set, or there is nothing to end."""
    return None if until in {0, UNTIL_LIFTED} else until // 1_000


def _behind(at: Any, number: Any, source: int, after: Place | None) -> ColumnElement[bool]:
    if after is None:
        return true()
    return or_(at < after.at, and_(at == after.at, 2 * number + source < after.number))
