"""The draft of the keyword library out of files and into files."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import msgspec

from gateway.keyword_store import EntryInvalid, KeywordStore, Origin, check
from keywords import importers
from keywords.entry import Action, Entry, Match
from keywords.importers import Imported, Rejected
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
) -> dict[str, Any]:
    """Enter a word list; return what became of it.

    Entries arrive as `observe`, whatever the file says. *keep_actions* is why not: the file was written by a gateway,
    and its actions and measurements count. Raises `EntryInvalid` naming `body`, `risk`.
    """
    if risk not in RISKS:
        raise EntryInvalid("risk", f"`{risk}` is none of the {len(RISKS)} risks (A1a … A5b)")

    def work() -> tuple[Imported, list[Entry], list[Rejected]]:
        keep = keep_actions is not None
        found = importers.read(
            data, name=name, risk=risk, source=source, licence=licence, added_by=by, keep_actions=keep
        )
        return found, *_usable(found, keep_actions)

    try:
        found, entries, unusable = await asyncio.to_thread(work)
    except importers.Unreadable as error:
        raise EntryInvalid("body", f"the file {error}") from None
    added, taken = await store.add_all(entries, Origin.IMPORT)
    rejected = [*found.rejected, *unusable]
    return {
        "added": added,
        "already_there": len(taken),
        "duplicates": found.duplicates,
        "rejected": len(rejected),
        "rejected_rows": msgspec.to_builtins(rejected[:SHOWN]),
    }


def _usable(found: Imported, keep_actions: str | None) -> tuple[list[Entry], list[Rejected]]:
    """Return the entries as they may be entered, and those that may not: expressions that cannot be compiled."""
    usable: list[Entry] = []
    rejected: list[Rejected] = []
    for entry in found.entries:
        if entry.match is Match.REGEX:
            try:
                check(entry)
            except EntryInvalid as error:
                rejected.append(Rejected(0, entry.term[: importers.SHOWN], f"{error.field}: {error}"))
                continue
        usable.append(_as_entered(entry, keep_actions))
    return usable, rejected


def _as_entered(entry: Entry, keep_actions: str | None) -> Entry:
    if keep_actions is None:
        return replace(
            entry, id=0, benign_hits=None
        )  # what a stranger's file claims was measured on a stranger's texts
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
