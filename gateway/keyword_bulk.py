"""What is done to many entries of the draft at once: entered and changed by a file, taken out by their source."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import time_ns
from typing import Any

from sqlalchemy import RowMapping, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway import keyword_changes as log
from gateway.keys import now
from gateway.keyword_changes import NOBODY, Edit, Kind
from gateway.keyword_reader import Line
from gateway.keyword_store import (
    CHANGEABLE,
    STRICT,
    EntryInvalid,
    KeywordStore,
    Origin,
    check,
    demand_measured,
    entry_of,
    new_row,
    no_wider,
    table,
    values_of,
)
from gateway.state.sql import alone, keyword_entries
from keywords.entry import Action, Entry
from keywords.importers import Place, Rejected

TAKEN = CHANGEABLE - {"term", "match", "direction"}
"""What a file changes of an entry; by the other three it is known."""
NAMED = 20
"""Sources that an error names."""


@dataclass(slots=True)
class Merged:
    """What lines are to the entries that the draft has already.

    *changed*: what entries were, and what they become. *not_raised*: lines with a stronger action, which nobody gave a
    reason for; they are counted among the others as well.
    """

    fresh: list[Entry] = field(default_factory=list)
    changed: list[tuple[Entry, Entry]] = field(default_factory=list)
    unchanged: int = 0
    not_raised: int = 0
    refused: list[Rejected] = field(default_factory=list)


async def known(store: KeywordStore, lines: Sequence[Line]) -> int:
    """Return how many of *lines* the draft has already, whatever their fields."""
    query = select(func.count()).where(table.key.in_([line.key for line in lines]))
    async with store.engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


async def enter(store: KeywordStore, lines: Sequence[Line], force: str | None, edit: Edit, *, update: bool) -> Merged:
    """Enter the *lines* that are new; with *update*, change the entries of the others. One transaction.

    *force* is why the lines' own actions and measurements count. Nobody changes an entry between the look at it and
    the change.
    """
    async with store.engine.begin() as connection:
        await alone(connection, keyword_entries)
        query = select(keyword_entries).where(table.key.in_([line.key for line in lines]))
        there = {row["key"]: row for row in (await connection.execute(query)).mappings()}
        merged = await asyncio.to_thread(_sorted, lines, there, force)
        if merged.fresh:
            rows = await asyncio.to_thread(lambda: [new_row(entry, Origin.IMPORT) for entry in merged.fresh])
            await connection.execute(insert(keyword_entries), rows)
        if merged.changed and update:
            await _write(connection, merged.changed, edit)
    return merged


def _sorted(lines: Sequence[Line], there: Mapping[str, RowMapping], force: str | None) -> Merged:
    merged = Merged()
    for line in lines:
        if line.key in there:
            _add(merged, there[line.key], line.place, force)
        else:
            merged.fresh.append(line.entry)
    return merged


def _add(merged: Merged, row: RowMapping, place: Place, force: str | None) -> None:
    old = entry_of(row)
    merged.not_raised += force is None and _raises(old, place)
    try:
        new = changed(old, place, force)
        if force is None and row["origin"] == Origin.IMPORT and new.benign_hits != old.benign_hits:
            demand_measured(new, new.action)
    except EntryInvalid as error:
        reason = "; ".join(f"{name}: {text}" for name, text in error.faults)
        merged.refused.append(Rejected(place.line, old.term, reason))
        return
    if new == old:
        merged.unchanged += 1
    else:
        merged.changed.append((old, new))


def changed(old: Entry, place: Place, force: str | None) -> Entry:
    """Return *old* with the fields that a row states; its action is raised only where *force* says why.

    Raises `EntryInvalid` where the entry would have faults.
    """
    values = {name: getattr(place.asked, name) for name in place.stated & TAKEN}
    raised = _raises(old, place)
    if raised and force is None:
        values["action"] = old.action
    new = replace(old, **values)
    if force is not None and "benign_hits" in place.stated:
        new = replace(new, benign_hits=place.asked.benign_hits, benign_texts=place.asked.benign_texts)
    elif not no_wider(new, old):
        new = new.unmeasured()  # what was measured was another entry
    if raised and force is not None:
        new = replace(new, note=f"{new.note}\nforced: {force}".strip())
    if new != old:
        check(new)
    return new


def _raises(old: Entry, place: Place) -> bool:
    action = place.asked.action
    return "action" in place.stated and action in STRICT and old.action not in {action, Action.BLOCK}


async def _write(connection: AsyncConnection, changes: Sequence[tuple[Entry, Entry]], edit: Edit) -> None:
    """Write what entries become, and that into the log."""
    rows, told = await asyncio.to_thread(lambda: (list(_bound(changes)), [log.one(*one, edit) for one in changes]))
    columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in values_of(changes[0][1])}
    query = update(keyword_entries).where(table.number == bindparam("which"))
    stamps = {"updated_at": now(), "touched": time_ns()}
    await connection.execute(query.values({**columns, **stamps}), rows)
    await log.record(connection, told)


def _bound(changes: Sequence[tuple[Entry, Entry]]) -> Iterator[dict[str, Any]]:
    for old, new in changes:
        yield {"which": old.id, **{f"new_{name}": value for name, value in values_of(new).items()}}


async def remove_source(store: KeywordStore, source: str, edit: Edit = NOBODY, *, dry: bool) -> dict[str, Any]:
    """Take every entry that is from *source* out of the draft, or with *dry* only count them; versions keep them.

    Raises `EntryInvalid` naming `source` where there are none, with the sources that there are.
    """
    theirs = table.source == source
    async with store.engine.begin() as connection:
        count = (await connection.execute(select(func.count()).where(theirs))).scalar_one()
        if not count:
            known = await connection.execute(select(table.source).distinct().where(table.source != "").limit(NAMED))
            names = ", ".join(f"`{name}`" for name in sorted(known.scalars())) or "none"
            raise EntryInvalid("source", f"no entry of the draft is from `{source}`; sources there: {names}")
        if not dry:
            await connection.execute(delete(keyword_entries).where(theirs))
            await log.record(connection, [log.many(Kind.SOURCE_REMOVED, count, edit, source)])
    return {"source": source, "entries": count, "removed": not dry}
