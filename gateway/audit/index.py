"""The index: one row a turn, and one for each thing that an admin did or that changed a person's standing."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Sequence as Counter
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit import expiry, grams, rows
from gateway.audit.entries import Accepted, Finished, Judged
from gateway.audit.marks import APPLIED, CHANGING, COUNTED, PENDING, mark_again
from gateway.audit.rows import Row
from gateway.audit.sinks import Heard
from gateway.audit.tables import NUMBERS, PARTS, audit_events, audit_terms, audit_turns

ASKED_AT_ONCE = 500
"""Ids in one query: every database takes so many parameters."""
WRITTEN_AT_ONCE = 250
"""Rows of one statement: making them ready takes the event loop some milliseconds."""
BEGIN, JUDGED, END = 0, 1, 2
"""Which of the rows of `audit_terms` a record's terms go into; that of a turn that is whole at once is `BEGIN`."""

Item = TypeVar("Item")
Terms = str | list[int]
"""What a turn is found by, as the database takes it."""


class Place(NamedTuple):
    """Where the row of a turn stands, and whose it is."""

    number: int
    accepted_at: int
    person: str | None


class Later(NamedTuple):
    """What records change in a turn whose begin is not among them."""

    changed: Row
    alone: Row
    """The whole row, should there be none."""
    terms: Terms


class Batch(NamedTuple):
    """Rows of some records of a writer."""

    begun: list[tuple[Row, Terms]]
    later: dict[str, Later]
    events: list[Row]


class Index:
    """A sink of the log's follower; see `gateway.audit.sinks.Sink`."""

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Put the next records of a writer into the index."""
        sqlite = connection.dialect.name == "sqlite"
        batch = await asyncio.to_thread(prepared, heard, sqlite=sqlite)
        await expiry.make_room(connection, {one.record.at for one in heard})
        known = await _places(connection, batch.later)
        lost = [(one.alone, one.terms) for turn, one in batch.later.items() if turn not in known]
        later = [(place, batch.later[turn]) for turn, place in known.items()]
        await _insert(connection, [*batch.begun, *lost])
        await _change(connection, later)
        if batch.events:
            await connection.execute(insert(audit_events), batch.events)
        turns = [row for row, _ in [*batch.begun, *lost]]
        turns += [{"person": place.person, **one.changed} for place, one in later]
        await mark_again(connection, _concerned(turns, batch.events))


def prepared(heard: Sequence[Heard], *, sqlite: bool) -> Batch:
    """Return the rows of *heard*. Blocks: a text has as many terms as characters."""

    def found_by(row: Row) -> Terms:
        terms = rows.terms(row)
        return " ".join(sorted(map(grams.token, terms))) if sqlite else sorted(map(grams.number, terms))

    begun: dict[str, Row] = {}
    changes: dict[str, tuple[Row, Row]] = {}
    for one in heard:
        match one.record:
            case Accepted() as record:
                begun[record.id] = rows.began(one, record)
            case (Judged() | Finished()) as record if record.id in begun:
                begun[record.id].update(rows.changed(record))
            case (Judged() | Finished()) as record:
                changed, alone = changes.get(record.id, ({}, rows.lost(one, record)))
                new = rows.changed(record)
                changes[record.id] = ({**changed, **new}, {**alone, **new})
    later = {turn: Later(changed, alone, found_by(changed)) for turn, (changed, alone) in changes.items()}
    events = [row for row in map(rows.event, heard) if row is not None]
    return Batch([(row, found_by(row)) for row in begun.values()], later, events)


async def _places(connection: AsyncConnection, turns: Iterable[str]) -> dict[str, Place]:
    """Return where the turns stand that have a row."""
    found: dict[str, Place] = {}
    columns = audit_turns.c
    for names in _parts(sorted(turns), ASKED_AT_ONCE):
        query = select(columns.id, columns.number, columns.accepted_at, columns.person).where(columns.id.in_(names))
        found |= {row.id: Place(*row[1:]) for row in (await connection.execute(query)).all()}
    return found


async def _insert(connection: AsyncConnection, made: list[tuple[Row, Terms]]) -> None:
    if not made:
        return
    sqlite = connection.dialect.name == "sqlite"
    numbered = list(zip(await _numbers(connection, len(made)), made, strict=True))
    for part in _parts(numbered, WRITTEN_AT_ONCE):
        values = [{**row, "number": n} if sqlite else {**row, "number": n, "terms": terms} for n, (row, terms) in part]
        await connection.execute(insert(audit_turns), values)
    if sqlite:
        await _find_by(connection, [(number, BEGIN, terms) for number, (_, terms) in numbered])


async def _numbers(connection: AsyncConnection, many: int) -> Iterable[int]:
    """Return numbers for *many* rows. SQLite has one writer at a time, and this is it."""
    if connection.dialect.name == "sqlite":
        last = (await connection.execute(select(func.max(audit_turns.c.number)))).scalar() or 0
        return range(last + 1, last + 1 + many)
    query = select(Counter(NUMBERS).next_value()).select_from(func.generate_series(1, many))
    return list((await connection.execute(query)).scalars())


async def _change(connection: AsyncConnection, later: list[tuple[Place, Later]]) -> None:
    """Change rows that are there: those that change alike in one go."""
    sqlite = connection.dialect.name == "sqlite"
    alike: defaultdict[frozenset[str], list[Mapping[str, Any]]] = defaultdict(list)
    for place, one in later:
        found = {} if sqlite else {"new_terms": one.terms}
        where = {"of_number": place.number, "of_time": place.accepted_at}
        alike[frozenset(one.changed)].append({**where, **one.changed, **found})
    columns = audit_turns.c
    for names, values in alike.items():
        what: dict[str, Any] = {name: bindparam(name) for name in names}
        if not sqlite:
            what["terms"] = columns.terms.op("||")(bindparam("new_terms", type_=columns.terms.type))
        here = (columns.number == bindparam("of_number"), columns.accepted_at == bindparam("of_time"))
        for part in _parts(values, WRITTEN_AT_ONCE):
            await connection.execute(update(audit_turns).where(*here).values(what), part)
    if sqlite:
        ends = [(place, END if "finished_at" in one.changed else JUDGED, one.terms) for place, one in later]
        await _find_by(connection, [(place.number, part, terms) for place, part, terms in ends])


async def _find_by(connection: AsyncConnection, found: Iterable[tuple[int, int, Terms]]) -> None:
    """Have SQLite find turns by the terms of their begin, or of what came later."""
    values = [{"rowid": number * PARTS + part, "terms": terms} for number, part, terms in found if terms]
    if values:
        await connection.execute(insert(audit_terms), values)


def _parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    return (items[i : i + most] for i in range(0, len(items), most))


def _struck(row: Row) -> bool:
    return row.get("strike_event") in {*COUNTED, PENDING}


def _concerned(turns: Iterable[Row], events: Iterable[Row]) -> dict[str, int]:
    """Return for whom, and since when, appeals have to be looked at: they are new, or turns before them are."""
    moments = [(row["person"], row["strike_at"]) for row in turns if _struck(row)]
    moments += [(row["target"], row["at"]) for row in events if row["kind"] == APPLIED and row["action"] in CHANGING]
    found: dict[str, int] = {}
    for person, at in moments:
        if person is not None:
            found[person] = min(found.get(person, at), at)
    return found
