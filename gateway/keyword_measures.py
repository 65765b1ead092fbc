"""What a measurement writes into the draft: only where the entry is still the one that was measured.

A measurement takes minutes, and people go on editing. Each row is written only if nobody has touched it since it was
last compared; what was left out is counted and told.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import RowMapping, bindparam, select, update

from gateway import keyword_changes as log
from gateway.keys import now
from gateway.keyword_changes import NOBODY, Edit
from gateway.keyword_store import CHUNK, EntryInvalid, KeywordStore, Origin, demand_measured, entry_of, table
from gateway.state.sql import keyword_entries
from keywords.entry import LONGEST_NOTE, Action, Entry

FOUND_BY = ("term", "match", "direction", "boundary", "within", "exceptions")
"""What decides where an entry is found; all else leaves a measurement valid."""


@dataclass(frozen=True, slots=True)
class Written:
    """Entries that were *written*; *skipped*: changed or gone meanwhile; *kept*: not for this measurement to change."""

    written: int = 0
    skipped: int = 0
    kept: int = 0


async def store_hits(
    store: KeywordStore, entries: Iterable[Entry], hits: Mapping[int, int], texts: int, *, force: bool = False
) -> Written:
    """Store in how many of *texts* harmless texts each of the measured *entries* was found.

    A measurement on more texts is kept, unless *force*.
    """

    def values(row: RowMapping, entry: Entry) -> Mapping[str, Any] | None:
        known = row["benign_texts"] or 0 if row["benign_hits"] is not None else 0
        if known > texts and not force:
            return None
        return {"benign_hits": hits.get(entry.id, 0), "benign_texts": texts}

    return await _write(store, entries, ("benign_hits", "benign_texts"), values)


async def store_actions(
    store: KeywordStore,
    entries: Iterable[Entry],
    actions: Mapping[int, Action],
    edit: Edit = NOBODY,
    *,
    texts: int | None = None,
) -> Written:
    """Set the action of many entries, by id, as a measurement on *texts* harmless texts proposed for *entries*.

    What was measured on more is not for it to decide, unless *edit* says why. An imported entry gets one that its
    stored measurement does not allow only where *edit* says why, which its note keeps.
    """
    force = edit.why

    def values(row: RowMapping, entry: Entry) -> Mapping[str, Any] | None:
        action, note = actions[entry.id], row["note"]
        if row["action"] != entry.action:  # somebody has decided otherwise meanwhile
            return None
        if texts is not None and not force and (row["benign_texts"] or 0) > texts:
            return None
        if row["origin"] == Origin.IMPORT:
            try:
                demand_measured(entry_of(row), action)
            except EntryInvalid:
                if not force:
                    return None
                note = f"{note}\nforced: {force}".strip()[-LONGEST_NOTE:]
        return {"action": action.value, "note": note}

    on = f"measured on {texts} harmless texts" if texts is not None else ""
    return await _write(store, entries, ("action", "note"), values, Edit(edit.by, "; ".join(filter(None, (on, force)))))


async def _write(
    store: KeywordStore, entries: Iterable[Entry], columns: tuple[str, ...], values: Any, edit: Edit | None = None
) -> Written:
    """Write what *values* makes of a row and the entry that was measured; None: the row stays as it is.

    *edit*: who changes them; None: it is no change of theirs and stands in no log.
    """
    measured = list(entries)
    total, kept = Written(), 0
    for start in range(0, len(measured), CHUNK):
        part = measured[start : start + CHUNK]
        rows = await _rows(store, part)
        changes: list[dict[str, Any]] = []
        told: list[dict[str, Any]] = []
        for entry in part:
            row = rows.get(entry.id)
            if row is None or not _is_same(entry_of(row), entry):
                continue
            found = values(row, entry)
            if found is None:
                kept += 1
            else:
                changed = {f"new_{name}": found[name] for name in columns}
                changes.append({"which": entry.id, "seen": row["touched"], **changed})
                if edit is not None:
                    old = entry_of(row)
                    told.append(log.one(old, replace(old, **found), edit))
        total = replace(total, written=total.written + await _update(store, columns, changes, told))
    return Written(total.written, len(measured) - total.written - kept, kept)


async def _rows(store: KeywordStore, part: list[Entry]) -> dict[int, RowMapping]:
    query = select(keyword_entries).where(table.number.in_([entry.id for entry in part]))
    async with store.engine.connect() as connection:
        return {row["number"]: row for row in (await connection.execute(query)).mappings()}


def _is_same(now_there: Entry, measured: Entry) -> bool:
    return all(getattr(now_there, name) == getattr(measured, name) for name in FOUND_BY)


async def _update(
    store: KeywordStore, columns: tuple[str, ...], changes: list[dict[str, Any]], told: list[dict[str, Any]]
) -> int:
    """Write rows that are still as they were *seen*, and what is *told* of them; return how many were."""
    if not changes:
        return 0
    stamp = time.time_ns()
    query = (
        update(keyword_entries)
        .where(table.number == bindparam("which"), table.touched == bindparam("seen"))
        .values({**{name: bindparam(f"new_{name}") for name in columns}, "updated_at": now(), "touched": stamp})
    )
    numbers = [change["which"] for change in changes]
    written = select(table.number).where(table.touched == stamp, table.number.in_(numbers))
    async with store.engine.begin() as connection:
        await connection.execute(query, changes)
        done = set((await connection.execute(written)).scalars())
        await log.record(connection, [row for row in told if row["entry"] in done])
        return len(done)
