"""The draft of the keyword library out of files and into files."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import msgspec

from gateway.keyword_bulk import change_all, compare
from gateway.keyword_store import UNMEASURED, EntryInvalid, KeywordStore, Origin, check
from keywords import importers
from keywords.entry import Action, Entry, Match
from keywords.importers import Imported, Place, Rejected
from keywords.risks import RISKS

MOST_BYTES = importers.MOST_BYTES
SHOWN = 1_000
"""Rejected rows in an answer."""
PART = 1_000
"""Entries that are written in one go."""
Format = Literal["csv", "jsonl"]


async def take_in(  # noqa: PLR0913 - what a file does not say itself, all by name
    store: KeywordStore,
    data: bytes,
    *,
    name: str,
    risk: str,
    source: str = "",
    licence: str = "",
    by: str = "",
    keep_actions: str | None = None,
    update: bool = False,
) -> dict[str, Any]:
    """Enter a word list called *name*; return what became of it, row by row in numbers.

    Entries arrive as `observe`, whatever the file says. *keep_actions* is why not: the file was written by a gateway,
    and its actions and measurements count. *update*: entries that are there take the fields that their row states, but
    no stronger action unless it counts. Raises `EntryInvalid` naming `body`, `name` or `risk`.
    """
    if risk not in RISKS:
        raise EntryInvalid("risk", f"`{risk}` is none of the {len(RISKS)} risks: {', '.join(RISKS)}")

    def work() -> tuple[Imported, list[tuple[Entry, Place]], list[Rejected]]:
        keep = keep_actions is not None
        found = importers.read(
            data, name=name, risk=risk, source=source, licence=licence, added_by=by, keep_actions=keep
        )
        return found, *_usable(found, keep_actions)

    try:
        found, rows, unusable = await asyncio.to_thread(work)
    except importers.Unreadable as error:
        blamed = "name" if isinstance(error, importers.UnknownEnding) else "body"
        raise EntryInvalid(blamed, f"`{name}` {error}") from None
    merged = await compare(store, rows, keep_actions)
    added, _ = await store.add_all(merged.fresh, Origin.IMPORT)
    updated = await change_all(store, merged.changed) if update else 0
    rejected = sorted([*found.rejected, *unusable, *(merged.refused if update else ())], key=lambda row: row.line)
    return {
        "file": name,
        "added": added,
        "updated": updated,
        "unchanged": merged.unchanged,
        "differing": 0 if update else len(merged.changed) + len(merged.refused),
        "not_raised": merged.not_raised,
        "duplicates": found.duplicates,
        "rejected": len(rejected),
        "rejected_rows": msgspec.to_builtins(rejected[:SHOWN]),
    }


def _usable(found: Imported, keep_actions: str | None) -> tuple[list[tuple[Entry, Place]], list[Rejected]]:
    """Return the entries as they may be entered, and those that may not: expressions that cannot be compiled."""
    usable: list[tuple[Entry, Place]] = []
    rejected: list[Rejected] = []
    for entry, place in zip(found.entries, found.places, strict=True):
        if entry.match is Match.REGEX:
            try:
                check(entry)
            except EntryInvalid as error:
                rejected.append(Rejected(place.line, entry.term[: importers.SHOWN], f"{error.field}: {error}"))
                continue
        usable.append((_as_entered(entry, keep_actions), place))
    return usable, rejected


def _as_entered(entry: Entry, keep_actions: str | None) -> Entry:
    if keep_actions is None:  # what a stranger's file claims was measured on a stranger's texts
        return replace(entry, id=0, **UNMEASURED)
    if entry.action in {Action.BLOCK, Action.JUDGE}:
        return replace(entry, id=0, note=f"{entry.note}\nforced: {keep_actions}".strip())
    return replace(entry, id=0)


def written(entries: Sequence[Entry], form: Format) -> Iterator[bytes]:
    """Yield a file of *entries* in parts, a moment each."""
    header = importers.write_csv(()) if form == "csv" else b""
    yield header
    rest = iter(entries)
    while part := list(islice(rest, PART)):
        if form == "csv":
            yield importers.write_csv(part)[len(header) :]
        else:
            yield b"".join(msgspec.json.encode(entry) + b"\n" for entry in part)
