"""Word lists of others, as bytes, into entries; and entries into a csv file and back.

Text is UTF-8, with or without a mark, else UTF-16 with one, else GB18030. `keywords.formats` turns a file into rows,
`keywords.wordlists` knows the layouts of the public lists.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as made
from typing import NamedTuple

from keywords.cells import COLUMNS, SHOWN, cell_of, guarded, value_of
from keywords.entry import ASKED_ONLY, Action, Direction, Entry, Match, faults
from keywords.formats import UnknownEnding, Unreadable, rows

__all__ = [
    "SHOWN",
    "Imported",
    "Place",
    "Rejected",
    "UnknownEnding",
    "Unreadable",
    "identity",
    "read",
    "wanted",
    "write_csv",
]

MOST_LINES = 500_000
MOST_BYTES = 64 << 20
WANTED = "wanted: "
"""In the note of an imported entry, before the action that its file asked for."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line, counted from 1, that became no entry; *text* is its beginning."""

    line: int
    text: str
    reason: str


class Place(NamedTuple):
    """Where an imported entry stood: its *line*, the fields that the line *stated*, and what it *asked* to be."""

    line: int
    stated: frozenset[str]
    asked: Entry


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held. Ids are 0: the store gives them. *duplicates*: rows that said once more what was there.

    *places*: one for each entry.
    """

    entries: list[Entry]
    rejected: list[Rejected]
    duplicates: int
    places: list[Place] = made(default_factory=list, compare=False)


def read(  # noqa: PLR0913 - what a row may leave open, all by name
    data: bytes,
    *,
    name: str,
    risk: str,
    source: str = "",
    licence: str = "",
    added_by: str = "",
    action: Action = Action.OBSERVE,
    keep_actions: bool = False,
) -> Imported:
    """Return the entries of a file called *name*, whose ending (.txt, .csv, .xlsx, .jsonl) says its form.

    The other arguments fill what a row leaves open; where there is no *source* at all, *name* is it. A row's own action
    is only wished for: it is written into the note (see `wanted`) and the entry arrives with *action*, since nothing
    that was never measured shall block; with *keep_actions*, for a file that this system wrote, it counts. A bad row is
    reported, the others are imported. Raises `Unreadable`.
    """
    if len(data) > MOST_BYTES:
        raise Unreadable(f"has more than {MOST_BYTES >> 20} MB")
    given = Entry(id=0, term="", risk=risk, source=source, licence=licence, added_by=added_by, action=action)
    imported = Imported([], [], 0)
    seen: set[tuple[object, ...]] = set()
    stated: dict[frozenset[str], frozenset[str]] = {}  # one for all rows alike
    duplicates = 0
    for line, text, cells in rows(data, name, MOST_LINES):
        try:
            asked = _asked(cells, given, name)
            entry = _sound(asked if keep_actions else _observing(asked, action))
        except ValueError as error:
            imported.rejected.append(Rejected(line, text[:SHOWN], str(error)))
            continue
        if (key := identity(entry)) in seen:
            duplicates += 1
            continue
        seen.add(key)
        names = frozenset(column for column, cell in _named(cells) if cell is not None)
        imported.entries.append(entry)
        imported.places.append(Place(line, stated.setdefault(names, names), asked))
    return replace(imported, duplicates=duplicates)


def identity(entry: Entry) -> tuple[object, ...]:
    """Return what two entries must not share: the word as it is looked for, how, and in which direction."""
    if entry.match in {Match.EXACT, Match.REGEX}:
        return entry.match, entry.direction, entry.squeezed, entry.term
    return entry.match, entry.direction, entry.squeezed, *sorted(entry.folded(part) for part in entry.parts)


def wanted(entry: Entry) -> Action | None:
    """Return the action that the file of an imported *entry* asked for."""
    found = re.search(rf"{WANTED}({'|'.join(Action)})\b", entry.note)
    return Action(found[1]) if found else None


def write_csv(entries: Iterable[Entry]) -> bytes:
    """Return a table of *entries* that `read` takes, with the mark by which Excel knows UTF-8.

    A cell that a spreadsheet would take for a formula, or for empty, gets an apostrophe, which `read` takes off.
    """
    writer = csv.writer(out := io.StringIO(newline=""))
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([guarded(column, cell_of(getattr(entry, column))) for column in COLUMNS])
    return codecs.BOM_UTF8 + out.getvalue().encode("utf-8", "replace")


# From cells to an entry


def _named(cells: Mapping[str, str | None] | str) -> Iterable[tuple[str, str | None]]:
    """Return column and cell of each. Raises ValueError where there are none, with the reason."""
    if isinstance(cells, str):
        raise ValueError(cells)  # noqa: TRY004 - nobody passed a wrong type: the row is bad
    return cells.items()


def _asked(cells: Mapping[str, str | None] | str, given: Entry, name: str) -> Entry:
    """Return the entry that *cells* of the file *name* ask for, whatever its faults. Raises ValueError."""
    values: dict[str, object] = {"term": ""}
    if not given.source:
        values["source"] = name
    for column, cell in _named(cells):
        if column == "source" and not given.source:
            values["source"] = cell or ""
        elif column == "term":
            values["term"] = (cell or "").strip()
        elif cell is not None and column != "id":
            values[column] = _value(column, cell)
    if values.get("match") in ASKED_ONLY:
        values.setdefault("direction", Direction.IN)
    return replace(given, **values)  # type: ignore[arg-type]


def _value(column: str, cell: str) -> object:
    try:
        return value_of(column, cell)
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None


def _observing(asked: Entry, action: Action) -> Entry:
    """Return the entry with *action*, and its own wish for another in the note."""
    if asked.action is action:
        return asked
    return replace(asked, action=action, note=" ".join(filter(None, (asked.note, f"{WANTED}{asked.action}"))))


def _sound(entry: Entry) -> Entry:
    """Return *entry*. Raises ValueError with everything that is wrong with it."""
    if found := "; ".join(f"{field}: {reason}" for field, reason in faults(entry)):
        raise ValueError(found)
    return entry
