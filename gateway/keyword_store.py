"""The draft of the keyword library as people edit it: entered, listed, changed, imported. SQL owns it.

A draft is nobody's law: only versions that were frozen from it (`gateway.keyword_versions`) reach the workers.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import CursorResult, RowMapping, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway import keyword_changes as log
from gateway.keys import now
from gateway.keyword_changes import Edit
from gateway.state.sql import keyword_entries
from keywords.calibration import FEWEST_TEXTS
from keywords.entry import MEASURED, Action, Boundary, Direction, Entry, Match, faults
from keywords.expression import Unusable, try_out
from keywords.importers import key_of

MOST_ENTRIES = 300_000
"""In the draft; each worker holds all of them."""
CHUNK = 1_000
"""Rows that are written or read before others get their turn."""
STRICT = frozenset({Action.BLOCK, Action.JUDGE, Action.MASK})
"""What an imported entry may do only once it is known what else it hits."""
CHANGEABLE = frozenset(field.name for field in fields(Entry)) - {"id", "added_by", *MEASURED}
LINE = "\n"
"""Around each tag, so that one can be searched for."""

table = keyword_entries.c


class Origin(StrEnum):
    """How an entry came in."""

    HAND = "hand"
    IMPORT = "import"
    STARTER = "starter"


class EntryInvalid(Exception):
    """A *field* of an entry, or of what is asked of it, is wrong; *others* are field and reason of what else is."""

    def __init__(self, field: str, reason: str, others: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(reason)
        self.field = field
        self.faults = ((field, reason), *others)


class TermTaken(Exception):
    """The draft already has an entry that folds to the same term, is looked for in the same way and direction."""


class UnknownEntry(Exception):
    """There is no entry with this id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are listed; None: all. *q* is part of the term."""

    q: str | None = None
    risk: str | None = None
    action: str | None = None
    match: str | None = None
    tag: str | None = None
    source: str | None = None

    def applied(self, query: Select[Any]) -> Select[Any]:
        """Return *query* with the conditions."""
        for name in ("risk", "action", "match", "source"):
            value = getattr(self, name)
            if value is not None:
                query = query.where(keyword_entries.c[name] == value)
        if self.q is not None:
            query = query.where(table.term.icontains(self.q, autoescape=True))
        if self.tag is not None:
            query = query.where(table.tags.contains(f"{LINE}{self.tag}{LINE}", autoescape=True))
        return query


@dataclass(frozen=True, slots=True)
class Stamp:
    """Changes whenever the draft does; *updated_at* is Unix time, None for an empty draft."""

    count: int
    highest: int
    touched: int
    updated_at: int | None


def check(entry: Entry) -> None:
    """Raise `EntryInvalid` for all that is wrong with *entry*. Up to a second for a regular expression: in a thread."""
    found = list(faults(entry))
    if any(LINE in tag or not tag.strip() for tag in entry.tags):
        found.append(("tags", "a tag is one line that is not empty"))
    if entry.match is Match.REGEX and not any(field == "term" for field, _ in found):
        try:
            try_out(entry.term)
        except Unusable as error:
            found.insert(0, ("term", f"`{entry.term}`: {error}"))
    if found:
        raise EntryInvalid(*found[0], found[1:])


def entry_of(row: RowMapping) -> Entry:
    """Return a stored entry."""
    return Entry(
        **{
            **{field.name: row[field.name] for field in fields(Entry) if field.name != "id"},
            "id": row["number"],
            "benign_texts": row["benign_texts"] if row["benign_hits"] is not None else None,
            "action": Action(row["action"]),
            "match": Match(row["match"]),
            "direction": Direction(row["direction"]),
            "boundary": Boundary(row["boundary"]),
            "exceptions": tuple(row["exceptions"]),
            "tags": tuple(tag for tag in row["tags"].split(LINE) if tag),
        }
    )


def values_of(entry: Entry) -> dict[str, Any]:
    """Return the columns of *entry*, all but its number."""
    values = {field.name: getattr(entry, field.name) for field in fields(Entry) if field.name != "id"}
    enums = {name: getattr(entry, name).value for name in ("action", "match", "direction", "boundary")}
    tags = "".join(f"{LINE}{' '.join(tag.split())}" for tag in entry.tags) + (LINE if entry.tags else "")
    return {**values, **enums, "exceptions": list(entry.exceptions), "tags": tags, "key": key_of(entry)}


def shown(row: RowMapping) -> dict[str, Any]:
    """Return what people see of a stored entry."""
    document: dict[str, Any] = msgspec.to_builtins(entry_of(row))
    stamps = {name: row[name] for name in ("origin", "decided", "created_at", "updated_at")}
    return {**document, **stamps}


def demand_measured(entry: Entry, action: Action) -> None:
    """Raise `EntryInvalid` where an imported *entry* is not known to be harmless enough for *action*."""
    if action not in STRICT:
        return
    if entry.benign_hits is None:
        text = "was imported and never measured: calibrate first, or say why not in `force`"
        raise EntryInvalid("action", f"`{action.value}`: the entry {text}")
    if action in {Action.BLOCK, Action.MASK} and entry.benign_hits:
        raise EntryInvalid(
            "action", f"`{action.value}`: the entry hits {entry.benign_hits} harmless texts; or use `force`"
        )
    texts = entry.benign_texts
    if (texts or 0) < FEWEST_TEXTS:
        known = f"{texts} harmless texts" if texts is not None else "an unknown number of texts"
        text = f"was measured on {known}, which are fewer than {FEWEST_TEXTS}: calibrate on more, or use `force`"
        raise EntryInvalid("action", f"`{action.value}`: the entry {text}")


class KeywordStore:
    """The draft."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def page(self, limit: int, after: int = 0, which: Filter = Filter()) -> list[dict[str, Any]]:
        """Return up to *limit* entries by id, from behind the id *after*."""
        query = which.applied(select(keyword_entries).where(table.number > after))
        async with self.engine.connect() as connection:
            rows = (await connection.execute(query.order_by(table.number).limit(limit))).mappings()
            return [shown(row) for row in rows]

    async def get(self, number: int) -> dict[str, Any]:
        """Return one entry. Raises `UnknownEntry`."""
        return shown(await self._row(number))

    async def entry(self, number: int) -> Entry:
        """Return one entry as the library takes it. Raises `UnknownEntry`."""
        return entry_of(await self._row(number))

    async def create(self, entry: Entry, origin: Origin = Origin.HAND) -> dict[str, Any]:
        """Enter *entry*; its id is given here. Raises `EntryInvalid` and `TermTaken`."""
        await asyncio.to_thread(check, entry)
        await self._assert_room(1)
        async with self.engine.begin() as connection:
            number = await self._insert(connection, entry, origin)
            await log.record(connection, [log.one(None, replace(entry, id=number), Edit(entry.added_by))])
        return await self.get(number)

    async def change(
        self, number: int, changes: Mapping[str, Any], force: str | None = None, *, by: str = ""
    ) -> dict[str, Any]:
        """Change some of `CHANGEABLE`; *force* is why an imported entry may act without being measured.

        Raises `UnknownEntry`, `EntryInvalid` and `TermTaken`.
        """
        while not await self._change(number, changes, force, Edit(by, force or "")):
            pass  # somebody else has changed it meanwhile: the change is made to what it is now
        return await self.get(number)

    async def _change(self, number: int, changes: Mapping[str, Any], force: str | None, edit: Edit) -> bool:
        row = await self._row(number)
        old = entry_of(row)
        new = replace(old, **{name: changes[name] for name in CHANGEABLE if name in changes})
        if not no_wider(new, old):
            new = new.unmeasured()  # what was measured was another entry
        if force is not None:
            new = replace(new, note=f"{new.note}\nforced: {force}".strip())
        elif row["origin"] == Origin.IMPORT and (new.action is not old.action or new.benign_hits != old.benign_hits):
            demand_measured(new, new.action)
        await asyncio.to_thread(check, new)
        values = {**values_of(new), "decided": row["decided"] or "action" in changes}
        return await self._update(row, values, [log.one(old, new, edit)] if new != old else [])

    async def delete(self, number: int, *, by: str = "") -> None:
        """Take an entry out of the draft; versions keep it. Raises `UnknownEntry`."""
        old = await self.entry(number)
        async with self.engine.begin() as connection:
            if not (await connection.execute(delete(keyword_entries).where(table.number == number))).rowcount:
                raise UnknownEntry(f"There is no entry {number}.")
            await log.record(connection, [log.one(old, None, Edit(by))])

    async def tell(self, row: dict[str, Any]) -> None:
        """Have *row* stand in the log of changes."""
        async with self.engine.begin() as connection:
            await log.record(connection, [row])

    async def add_all(
        self, entries: Sequence[Entry], origin: Origin, edit: Edit | None = None
    ) -> tuple[int, list[Entry]]:
        """Enter many, all or none; return how many were new, and those that the draft had already.

        *edit*: who mined them; None: they come with the gateway, and are no change.
        """
        keyed = await asyncio.to_thread(lambda: [(key_of(entry), entry) for entry in entries])
        async with self.engine.begin() as connection:
            known = set((await connection.execute(select(table.key))).scalars())
            fresh, taken = _parted(keyed, known)
            if len(known) + len(fresh) > MOST_ENTRIES:
                raise EntryInvalid("body", f"the draft would have more than {MOST_ENTRIES} entries")
            for start in range(0, len(fresh), CHUNK):
                part = fresh[start : start + CHUNK]
                rows = [new_row(entry, origin, decided=_held_back(entry, origin)) for entry in part]
                await connection.execute(insert(keyword_entries), rows)
            if fresh and edit is not None:
                await log.record(connection, [log.many(log.Kind.MINED, len(fresh), edit)])
        return len(fresh), taken

    async def entries(self) -> tuple[Entry, ...]:
        """Return the whole draft by id, as it is at one moment."""
        found: list[Entry] = []
        async with self.engine.connect() as connection:
            query = select(keyword_entries).order_by(table.number)
            async with connection.stream(query) as rows:
                async for part in rows.mappings().partitions(CHUNK):
                    found.extend(map(entry_of, part))
        return tuple(found)

    async def decided(self) -> frozenset[int]:
        """Return the ids of the entries whose action a person chose, or the starter words chose not to act."""
        async with self.engine.connect() as connection:
            return frozenset((await connection.execute(select(table.number).where(table.decided))).scalars())

    async def stamp(self) -> Stamp:
        """Return what tells one state of the draft from another."""
        query = select(func.count(), func.max(table.number), func.max(table.touched), func.max(table.updated_at))
        async with self.engine.connect() as connection:
            count, highest, touched, updated_at = (await connection.execute(query)).one()
        return Stamp(count, highest or 0, touched or 0, updated_at)

    async def _insert(self, connection: AsyncConnection, entry: Entry, origin: Origin) -> int:
        try:
            done = await connection.execute(insert(keyword_entries).values(new_row(entry, origin, decided=True)))
        except IntegrityError:
            raise _taken(entry.term) from None
        return inserted(done)

    async def _update(self, row: RowMapping, values: Mapping[str, Any], told: Sequence[dict[str, Any]]) -> bool:
        """Write *values*, and *told* into the log, if the entry is still what *row* says; return whether it was."""
        same = (table.number == row["number"]) & (table.touched == row["touched"])
        stamped = {**values, "updated_at": now(), "touched": time.time_ns()}
        try:
            async with self.engine.begin() as connection:
                done = await connection.execute(update(keyword_entries).where(same).values(stamped))
                await log.record(connection, told if done.rowcount else ())
                return bool(done.rowcount)
        except IntegrityError:
            raise _taken(values["term"]) from None

    async def _row(self, number: int) -> RowMapping:
        async with self.engine.connect() as connection:
            query = select(keyword_entries).where(table.number == number)
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise UnknownEntry(f"There is no entry {number}.")
        return row

    async def _assert_room(self, count: int) -> None:
        if (await self.stamp()).count + count > MOST_ENTRIES:
            raise EntryInvalid("term", f"the draft has its {MOST_ENTRIES} entries")


def no_wider(new: Entry, old: Entry) -> bool:
    """Return whether *new* finds nothing that *old* did not find; a further exception only narrows."""
    same = (new.term, new.match, new.boundary) == (old.term, old.match, old.boundary)
    return same and new.within <= old.within and set(new.exceptions) >= set(old.exceptions)


def inserted(done: CursorResult[Any]) -> int:
    """Return the number of the one row that was inserted."""
    key: Any = done.inserted_primary_key
    return int(key[0])


def _taken(term: str) -> TermTaken:
    return TermTaken(f"The draft already has an entry for `{term}`, looked for in this way and direction.")


def new_row(entry: Entry, origin: Origin, *, decided: bool = False) -> dict[str, Any]:
    """Return the columns of an entry that is entered now; *decided*: its action is not for a calibration to change."""
    moment = now()
    stamps = {"created_at": moment, "updated_at": moment, "touched": time.time_ns()}
    return {**values_of(entry), **stamps, "origin": origin.value, "decided": decided}


def _held_back(entry: Entry, origin: Origin) -> bool:
    """Return whether *entry* is a starter word that was set to observe on purpose: its neighbours judge or block."""
    return origin is Origin.STARTER and entry.action is Action.OBSERVE


def _parted(keyed: Iterable[tuple[str, Entry]], known: set[str]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that are new and those that are not; of several alike the first one is new."""
    seen = set(known)
    fresh: list[Entry] = []
    taken: list[Entry] = []
    for key, entry in keyed:
        (taken if key in seen else fresh).append(entry)
        seen.add(key)
    return fresh, taken
