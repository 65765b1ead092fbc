"""The draft of the keyword library out of files and into files."""

import asyncio
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import IO, Any, Literal

import msgspec

from gateway import keyword_changes as log
from gateway import keyword_reader
from gateway.keyword_bulk import enter, known
from gateway.keyword_changes import Edit, Kind
from gateway.keyword_reader import SHOWN, Asked, Failed, Parts
from gateway.keyword_store import MOST_ENTRIES, EntryInvalid, KeywordStore
from keywords import importers
from keywords.entry import Entry
from keywords.importers import Rejected
from keywords.risks import RISKS

MOST_BYTES = importers.MOST_BYTES
PART = 1_000
"""Entries that are written in one go."""
LINES = ("lines", "with_words", "blank", "comments", "header", "continued")
"""Of what `keywords.importers.Reading` counts: the first is the sum of the others."""
Format = Literal["csv", "jsonl"]


async def take_in(  # noqa: PLR0913 - what a file does not say itself, all by name
    store: KeywordStore,
    file: IO[bytes] | bytes,
    *,
    name: str,
    risk: str,
    source: str = "",
    licence: str = "",
    by: str = "",
    keep_actions: str | None = None,
    update: bool = False,
) -> dict[str, Any]:
    """Enter a word list called *name*; return what became of its lines and of its words, in numbers that add up.

    Entries arrive as `observe`, whatever the file says. *keep_actions* is why not: the file was written by a gateway,
    and its actions and measurements count. *update*: entries that are there take the fields that their row states, but
    no stronger action unless it counts. Raises `EntryInvalid` naming `body`, `name` or `risk`, before anything is
    entered. A process that ends in the middle leaves what was entered so far; the same import again enters the rest.
    """
    if risk not in RISKS:
        raise EntryInvalid("risk", f"`{risk}` is none of the {len(RISKS)} risks: {', '.join(RISKS)}")
    asked = Asked(name, risk, source, licence, by, keep_actions)
    with ExitStack() as stack:
        parts = stack.enter_context(await asyncio.to_thread(_read, file, asked, stack))
        if parts.summary.fault:
            raise EntryInvalid(parts.summary.blamed, f"`{name}` {parts.summary.fault}")
        await _assert_room(store, parts)
        counts, refused = await _entered(store, parts, Edit(by, keep_actions or f"the file {name}"), asked, update)
    return await _told(store, parts, counts, refused, asked)


def _read(file: IO[bytes] | bytes, asked: Asked, stack: ExitStack) -> Parts:
    if isinstance(file, bytes):
        data, file = file, stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        file.write(data)
        file.flush()
    if file.seek(0, io.SEEK_END) > MOST_BYTES:
        raise EntryInvalid("body", f"`{asked.name}` has more than {MOST_BYTES >> 20} MB: split it by lines")
    try:
        return keyword_reader.read(file, asked)
    except Failed as error:
        raise EntryInvalid("body", f"`{asked.name}` {error}") from None


async def _assert_room(store: KeywordStore, parts: Parts) -> None:
    """Raise `EntryInvalid` where the draft cannot hold what would be new; then nothing has been entered."""
    room, fresh = MOST_ENTRIES - (await store.stamp()).count, 0
    while lines := await asyncio.to_thread(parts.next):
        fresh += len(lines) - await known(store, lines)
    if fresh > room:
        raise EntryInvalid("body", f"the draft would have {fresh - room} entries more than the {MOST_ENTRIES} it holds")
    await asyncio.to_thread(parts.again)


async def _entered(
    store: KeywordStore, parts: Parts, edit: Edit, asked: Asked, update: bool
) -> tuple[Counter[str], list[Rejected]]:
    """Enter all *parts*; return what became of how many, and rows that would have spoilt their entries."""
    counts: Counter[str] = Counter()
    refused: list[Rejected] = []
    while lines := await asyncio.to_thread(parts.next):
        merged = await enter(store, lines, asked.keep_actions, edit, update=update)
        counts["added"] += len(merged.fresh)
        counts["unchanged"] += merged.unchanged
        counts["not_raised"] += merged.not_raised
        counts["updated" if update else "differing"] += len(merged.changed)
        counts["rejected" if update else "differing"] += len(merged.refused)
        refused += merged.refused[: SHOWN - len(refused)] if update else ()
    return counts, refused


async def _told(
    store: KeywordStore, parts: Parts, counts: Counter[str], refused: Sequence[Rejected], asked: Asked
) -> dict[str, Any]:
    """Return what a file was, and have it stand in the log of changes."""
    summary = parts.summary
    figures = {name: counts[name] for name in ("added", "updated", "unchanged", "differing", "not_raised")}
    counts["rejected"] += summary.counts["rejected"]
    if figures["added"] or figures["updated"]:
        edit = Edit(asked.added_by, asked.keep_actions or "")
        row = log.many(Kind.IMPORTED, figures["added"] + figures["updated"], edit, asked.name, **figures)
        async with store.engine.begin() as connection:
            await log.record(connection, [row])
    rejected = sorted([*summary.rejected, *refused], key=lambda row: row.line)
    return {
        "file": asked.name,
        "lines": {name: summary.counts.get(name, 0) for name in LINES},
        "words": summary.counts.get("words", 0),
        **figures,
        "duplicates": summary.counts.get("duplicates", 0),
        "headings": summary.counts.get("headings", 0),
        "rejected": counts["rejected"],
        "rejected_rows": msgspec.to_builtins(rejected[:SHOWN]),
    }


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
