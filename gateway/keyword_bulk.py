"""What is done to many entries of the draft at once: changed by a file, taken out by their source."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import time_ns
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, bindparam, delete, func, select, update

from gateway.keys import now
from gateway.keyword_store import (
    CHANGEABLE,
    CHUNK,
    STRICT,
    UNMEASURED,
    EntryInvalid,
    KeywordStore,
    Origin,
    check,
    demand_measured,
    entry_of,
    key_of,
    no_wider,
    table,
    values_of,
)
from gateway.state.sql import keyword_entries
from keywords.entry import Action, Entry
from keywords.importers import Place, Rejected

TAKEN = CHANGEABLE - {"term", "match", "direction"}
"""What a file changes of an entry; by the other three it is known."""
NAMED = 20
"""Sources that an error names."""


class Change(NamedTuple):
    """What an entry becomes that was last *touched* then; nobody else's later change is overwritten."""

    new: Entry
    touched: int


@dataclass(slots=True)
class Merged:
    """What a file is to the entries that the draft has already.

    *changed*: what they would become, by id. *not_raised*: rows with a stronger action, which nobody gave a reason for.
    """

    fresh: list[Entry] = field(default_factory=list)
    changed: dict[int, Change] = field(default_factory=dict)
    unchanged: int = 0
    not_raised: int = 0
    refused: list[Rejected] = field(default_factory=list)


async def compare(store: KeywordStore, rows: Iterable[tuple[Entry, Place]], force: str | None) -> Merged:
    """Return which *rows* are new, and how the others would change their entries; nothing is written.

    *force* is why the rows' own actions and measurements count.
    """
    keyed = await asyncio.to_thread(lambda: [(key_of(entry), entry, place) for entry, place in rows])
    merged = Merged()
    for start in range(0, len(keyed), CHUNK):
        part = keyed[start : start + CHUNK]
        query = select(keyword_entries).where(table.key.in_([key for key, _, _ in part]))
        async with store.engine.connect() as connection:
            there = {row["key"]: row for row in (await connection.execute(query)).mappings()}
        await asyncio.to_thread(_sort, merged, part, there, force)
    return merged


def _sort(
    merged: Merged, part: Iterable[tuple[str, Entry, Place]], there: Mapping[str, RowMapping], force: str | None
) -> None:
    for key, entry, place in part:
        if key not in there:
            merged.fresh.append(entry)
        else:
            _add(merged, there[key], place, force)


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
        merged.changed[old.id] = Change(new, row["touched"])


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
        new = replace(new, **UNMEASURED)  # what was measured was another entry
    if raised and force is not None:
        new = replace(new, note=f"{new.note}\nforced: {force}".strip())
    if new != old:
        check(new)
    return new


def _raises(old: Entry, place: Place) -> bool:
    action = place.asked.action
    return "action" in place.stated and action in STRICT and old.action not in {action, Action.BLOCK}


async def change_all(store: KeywordStore, changes: Mapping[int, Change]) -> int:
    """Write changed entries, by id; return how many. Left out are those that somebody has changed meanwhile."""
    if not changes:
        return 0
    stamp, numbers = time_ns(), list(changes)
    columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in values_of(changes[numbers[0]].new)}
    same = (table.number == bindparam("which")) & (table.touched == bindparam("seen"))
    query = update(keyword_entries).where(same).values({**columns, "updated_at": now(), "touched": stamp})
    async with store.engine.begin() as connection:
        for start in range(0, len(numbers), CHUNK):
            part = {number: changes[number] for number in numbers[start : start + CHUNK]}
            await connection.execute(query, await asyncio.to_thread(_bound, part))
        return int((await connection.execute(select(func.count()).where(table.touched == stamp))).scalar_one())


def _bound(changes: Mapping[int, Change]) -> list[dict[str, Any]]:
    return [
        {"which": number, "seen": touched, **{f"new_{name}": value for name, value in values_of(new).items()}}
        for number, (new, touched) in changes.items()
    ]


async def remove_source(store: KeywordStore, source: str, *, dry: bool) -> dict[str, Any]:
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
    return {"source": source, "entries": count, "removed": not dry}
