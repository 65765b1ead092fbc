"""Word lists of others, as bytes, into entries; and entries into a csv file and back.

Text is UTF-8, with or without a mark, else UTF-16 with one, else GB18030. `keywords.formats` turns a file into rows,
`keywords.wordlists` knows the layouts of the public lists.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as made
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from keywords.cells import COLUMNS, SHOWN, Wordless, cell_of, guarded, value_of
from keywords.entry import ASKED_ONLY, Action, Direction, Entry, Match, faults
from keywords.formats import UnknownEnding, Unreadable, rows
from keywords.wordlists import HEADING

__all__ = [
    "SHOWN",
    "Given",
    "Imported",
    "Place",
    "Reading",
    "Rejected",
    "UnknownEnding",
    "Unreadable",
    "identity",
    "key_of",
    "read",
    "wanted",
    "write_csv",
]

MOST_LINES = 500_000
MOST_BYTES = 256 << 20
"""A full draft in JSON lines has 120 MB or so; notes and exceptions may make it more."""
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

    *places*: one for each entry. *counts*: see `Reading`.
    """

    entries: list[Entry]
    rejected: list[Rejected]
    duplicates: int
    places: list[Place] = made(default_factory=list, compare=False)
    counts: Counter[str] = made(default_factory=Counter, compare=False)


class Given(NamedTuple):
    """What is true of all rows of a file, and what a row may leave open; where there is no *source*, *name* is it.

    A row's own action is only wished for: it is written into the note (see `wanted`) and the entry arrives with
    *action*, since nothing that was never measured shall block; with *keep_actions*, for a file that this system wrote,
    it counts.
    """

    name: str
    """Its ending (.txt, .csv, .xlsx, .jsonl) says the file's form."""
    risk: str
    source: str = ""
    licence: str = ""
    added_by: str = ""
    action: Action = Action.OBSERVE
    keep_actions: bool = False


class Reading:
    """The entries of a file, one by one; what else stood there is counted on the way.

    A bad row is reported, the others are read. *counts*: the `lines` of the file are those `with_words` and those of
    each kind of `Wordless`; a line may hold several `words`, each of which is an entry, one of the `duplicates` or
    rejected, as the `headings` are. Raises `Unreadable`, here or at the first row.
    """

    def __init__(self, data: bytes, given: Given) -> None:
        if len(data) > MOST_BYTES:
            raise Unreadable(f"has more than {MOST_BYTES >> 20} MB")
        self.given = given
        self.rejected: list[Rejected] = []
        self.counts: Counter[str] = Counter()
        self._rows = rows(data, given.name, MOST_LINES)
        self._seen: set[tuple[object, ...]] = set()
        self._stated: dict[frozenset[str], frozenset[str]] = {}
        """One for all rows alike."""

    def __iter__(self) -> Iterator[tuple[Entry, Place]]:
        """Yield each new entry and where it stood."""
        last = 0
        for line, text, cells in self._rows:
            if isinstance(cells, Wordless):
                self.counts[cells.value] += 1
            else:
                self.counts["with_words"] += line != last
                self.counts["words"] += 1
                self.counts["headings"] += cells == HEADING
                last = line
                yield from self._entered(line, text, cells)
        self.counts["lines"] = sum(self.counts[kind.value] for kind in Wordless) + self.counts["with_words"]

    def _entered(self, line: int, text: str, cells: Mapping[str, str | None] | str) -> Iterator[tuple[Entry, Place]]:
        given = self.given
        try:
            asked = _asked(cells, given)
            entry = _sound(asked if given.keep_actions else _observing(asked, given.action))
        except ValueError as error:
            self.rejected.append(Rejected(line, text[:SHOWN], str(error)))
            return
        if (key := identity(entry)) in self._seen:
            self.counts["duplicates"] += 1
            return
        self._seen.add(key)
        names = frozenset(column for column, cell in _named(cells) if cell is not None)
        yield entry, Place(line, self._stated.setdefault(names, names), asked)


def read(data: bytes, **given: Any) -> Imported:
    """Return all that a file holds; *given* are the fields of `Given`. Raises `Unreadable`."""
    reading = Reading(data, Given(**given))
    found = list(reading)
    return Imported(
        [entry for entry, _ in found],
        reading.rejected,
        reading.counts["duplicates"],
        [place for _, place in found],
        reading.counts,
    )


def identity(entry: Entry) -> tuple[object, ...]:
    """Return what two entries must not share: the word as it is looked for, how, and in which direction."""
    if entry.match in {Match.EXACT, Match.REGEX}:
        return entry.match, entry.direction, entry.squeezed, entry.term
    return entry.match, entry.direction, entry.squeezed, *sorted(entry.folded(part) for part in entry.parts)


def key_of(entry: Entry) -> str:
    """Return a name for the `identity` of an entry, of one length."""
    return sha256(msgspec.json.encode(identity(entry))).hexdigest()


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


def _asked(cells: Mapping[str, str | None] | str, given: Given) -> Entry:
    """Return the entry that *cells* ask for, whatever its faults. Raises ValueError."""
    values: dict[str, Any] = {"id": 0, "term": "", "source": given.source or given.name}
    values |= {"risk": given.risk, "licence": given.licence, "added_by": given.added_by, "action": given.action}
    for column, cell in _named(cells):
        if column == "source" and not given.source:
            values["source"] = cell or ""
        elif column == "term":
            values["term"] = (cell or "").strip()
        elif cell is not None and column != "id":
            values[column] = _value(column, cell)
    if values.get("match") in ASKED_ONLY:
        values.setdefault("direction", Direction.IN)
    return Entry(**values)


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
