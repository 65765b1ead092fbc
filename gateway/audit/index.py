"""The index: one row a turn, and one for each thing that an admin did or that changed a person's standing."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Sequence as Counter
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit import expiry, grams, rows
from gateway.audit.entries import Accepted, Finished, Judged
from gateway.audit.marks import COUNTED, PENDING, mark_again
from gateway.audit.rows import Row
from gateway.audit.sinks import Heard
from gateway.audit.tables import NUMBERS, PARTS, audit_events, audit_terms, audit_turns

ASKED_AT_ONCE = 500
"""Ids in one query: every database takes so many parameters."""
BEGIN, JUDGED, END = 0, 1, 2
"""Which of the rows of `audit_terms` a record's terms go into; that of a turn that is whole at once is `BEGIN`."""


class Place(NamedTuple):
    """Where the row of a turn stands, and whose it is."""

    number: int
    accepted_at: int
    person: str | None


class Index:
    """A sink of the log's follower; see `gateway.audit.sinks.Sink`."""

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Put the next records of a writer into the index."""
        await expiry.make_room(connection, {one.record.at for one in heard})
        begun, changes = _sorted(heard)
        known = await _places(connection, changes.keys() - begun.keys())
        later: list[tuple[Place, Row]] = []
        for turn, (first, changed) in changes.items():
            if turn in known:
                later.append((known[turn], changed))
            elif turn in begun:
                begun[turn].update(changed)
            else:
                begun[turn] = {**rows.lost(first[0], first[1]), **changed}
        await _insert(connection, list(begun.values()))
        await _change(connection, later)
        events = [row for row in map(rows.event, heard) if row is not None]
        if events:
            await connection.execute(insert(audit_events), events)
        ended = [{"person": place.person, **changed} for place, changed in later]
        await mark_again(connection, _concerned([*begun.values(), *ended], events))


Changes = dict[str, tuple[tuple[Heard, "Judged | Finished"], Row]]


def _sorted(heard: Iterable[Heard]) -> tuple[dict[str, Row], Changes]:
    """Return the rows of turns that began, and what later records of any turn change."""
    begun: dict[str, Row] = {}
    changes: Changes = {}
    for one in heard:
        match one.record:
            case Accepted() as record:
                begun[record.id] = rows.began(one, record)
            case (Judged() | Finished()) as record:
                first, changed = changes.get(record.id, ((one, record), {}))
                changes[record.id] = (first, {**changed, **rows.changed(record)})
    return begun, changes


async def _places(connection: AsyncConnection, turns: Iterable[str]) -> dict[str, Place]:
    """Return where the turns stand that have a row."""
    found: dict[str, Place] = {}
    columns, names = audit_turns.c, sorted(turns)
    for i in range(0, len(names), ASKED_AT_ONCE):
        query = select(columns.id, columns.number, columns.accepted_at, columns.person)
        query = query.where(columns.id.in_(names[i : i + ASKED_AT_ONCE]))
        found |= {row.id: Place(*row[1:]) for row in (await connection.execute(query)).all()}
    return found


async def _insert(connection: AsyncConnection, made: list[Row]) -> None:
    if not made:
        return
    for number, row in zip(await _numbers(connection, len(made)), made, strict=True):
        row["number"] = number
    if connection.dialect.name != "sqlite":
        await connection.execute(insert(audit_turns), [{**row, "terms": sorted(rows.terms(row))} for row in made])
        return
    await connection.execute(insert(audit_turns), made)
    await _find_by(connection, [(row["number"], BEGIN, row) for row in made])


async def _numbers(connection: AsyncConnection, many: int) -> Iterable[int]:
    """Return numbers for *many* rows. SQLite has one writer at a time, and this is it."""
    if connection.dialect.name == "sqlite":
        last = (await connection.execute(select(func.max(audit_turns.c.number)))).scalar() or 0
        return range(last + 1, last + 1 + many)
    query = select(Counter(NUMBERS).next_value()).select_from(func.generate_series(1, many))
    return list((await connection.execute(query)).scalars())


async def _change(connection: AsyncConnection, later: list[tuple[Place, Row]]) -> None:
    """Change rows that are there: those that change alike in one go."""
    sqlite = connection.dialect.name == "sqlite"
    alike: defaultdict[frozenset[str], list[Mapping[str, Any]]] = defaultdict(list)
    for place, changed in later:
        found = {} if sqlite else {"new_terms": sorted(rows.terms(changed))}
        alike[frozenset(changed)].append({"of_number": place.number, "of_time": place.accepted_at, **changed, **found})
    columns = audit_turns.c
    for names, values in alike.items():
        what: dict[str, Any] = {name: bindparam(name) for name in names}
        if not sqlite:
            what["terms"] = columns.terms.op("||")(bindparam("new_terms", type_=columns.terms.type))
        where = (columns.number == bindparam("of_number"), columns.accepted_at == bindparam("of_time"))
        await connection.execute(update(audit_turns).where(*where).values(what), values)
    if sqlite:
        await _find_by(
            connection,
            [(place.number, END if "finished_at" in changed else JUDGED, changed) for place, changed in later],
        )


async def _find_by(connection: AsyncConnection, found: Iterable[tuple[int, int, Row]]) -> None:
    """Have SQLite find turns by the terms of their begin, or of what came later."""
    made = [(number * PARTS + part, rows.terms(row)) for number, part, row in found]
    values = [{"rowid": place, "terms": " ".join(sorted(map(grams.token, terms)))} for place, terms in made if terms]
    if values:
        await connection.execute(insert(audit_terms), values)


def _struck(row: Row) -> bool:
    return row.get("strike_event") in {*COUNTED, PENDING}


def _concerned(turns: Iterable[Row], events: Iterable[Row]) -> dict[str, int]:
    """Return for whom, and since when, appeals have to be looked at: they are new, or turns before them are."""
    moments = [(row["person"], row["strike_at"]) for row in turns if _struck(row)]
    moments += [(row["target"], row["at"]) for row in events if row["kind"] == "person"]
    found: dict[str, int] = {}
    for person, at in moments:
        if person is not None:
            found[person] = min(found.get(person, at), at)
    return found
