"""What people said at other gateways on the same database: a replay of one machine's log alone would miss it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Update, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.entries import Accepted, Applied, Finished, Judged, Person, Strike
from gateway.audit.sinks import Heard
from gateway.audit.slots import node
from gateway.people.replay import MEASURES, Event
from gateway.people.standing import PENDING
from gateway.people.tables import people_events
from gateway.state.inserting import insert_new

KEPT_MS = 400 * 86_400_000
"""As long as a standing stays in Redis (`ledger.KEPT_SECONDS`)."""


class Counted:
    """A sink that keeps what counts: few records, since a clean utterance counts only of whoever has a row."""

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Keep what counts of *heard*, and with which moment and number it was counted."""
        begun = [row for one in heard if (row := _begun(one)) is not None]
        await insert_new(connection, people_events, begun)
        if begun:
            old = people_events.c.at < max(row["at"] for row in begun) - KEPT_MS
            await connection.execute(delete(people_events).where(old))
        for writer, _, record in heard:
            if isinstance(record, Finished | Applied) and record.strike is not None:
                strike = record.strike
                if isinstance(record, Applied) and strike.event == PENDING:
                    continue  # its moment is that of its begin, also where it was asked for again
                await connection.execute(_ended(record.id, writer, strike))


def _ended(event: str, writer: str, strike: Strike) -> Update:
    """Return what notes when an event counted: of what two gateways were asked for, the first time, and whose that is.

    So the row is somebody else's for whoever did it later.
    """
    events = people_events.c
    later = ~events.ended | (events.at > strike.at)
    values = {"writer": writer, "at": strike.at, "seq": strike.seq, "ended": True}
    return update(people_events).where(events.id == event, later).values(values)


def _begun(heard: Heard) -> dict[str, Any] | None:
    match heard.record:
        case (Accepted() | Judged()) as turn if turn.counts and turn.person:
            found = {"kind": turn.counts, "at": turn.at, "seq": 0, "utterance": turn.utterance, "until": 0}
        case Person() as one if one.kind in MEASURES:
            found = {"kind": one.kind, "at": one.strike.at, "seq": one.strike.seq, "utterance": "", "until": one.until}
        case _:
            return None
    own = getattr(heard.record, "id", "") or f"{heard.writer}/{heard.seq}"
    return {**found, "id": own, "writer": heard.writer, "person": heard.record.person, "ended": False}


class Elsewhere:
    """The events of all writers but those of the machine whose log is at *root*."""

    def __init__(self, engine: AsyncEngine, root: Path) -> None:
        self._engine = engine
        self._ours = people_events.c.writer.startswith(f"{node(root)}-", autoescape=True)

    async def people(self) -> set[str]:
        """Return who has events elsewhere."""
        query = select(people_events.c.person).where(~self._ours).distinct()
        async with self._engine.connect() as connection:
            return set((await connection.execute(query)).scalars())

    async def newest(self) -> int:
        """Return the highest number of a change elsewhere; 0: there is none."""
        query = select(func.max(people_events.c.seq)).where(~self._ours)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).scalar() or 0

    async def events(self, person: str) -> list[Event]:
        """Return a person's events elsewhere; a clean utterance without an end did not count."""
        events = people_events.c
        counted = (events.kind != "clean") | events.ended
        columns = (events.kind, events.at, events.seq, events.utterance, events.until, events.id, events.ended)
        query = select(*columns).where(events.person == person, ~self._ours, counted)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [Event(person, *row[:-1], ended=row.ended, settled=True) for row in rows]


def others_of(engine: AsyncEngine, root: Path) -> Elsewhere | None:
    """Return what other gateways know; None on SQLite, which is one gateway's alone."""
    return None if engine.dialect.name == "sqlite" else Elsewhere(engine, root)
