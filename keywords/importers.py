r"""Word lists of others, as bytes, into entries; and entries into a csv file and back.

Plain text is UTF-8, with or without a mark, else UTF-16 with one, else GB18030. One word a line is the rule, but the
public lists (houbb/sensitive-word, importcjj/sensitive, konsheng/Sensitive-lexicon) are not of one mould. What stands
in them, and how it is read:

=====================================  ================================================================================
``# words``, blank                     skipped
``word,`` ``a,b`` ``a、b`` ``a|b``       one word each; the signs are ``, ， 、 | ｜ ; ；``
``真、善、忍`` ``法+輪+功``               all of one character: one word, written apart
``疫情+红会+政府``                       a combination of 2 to 5 parts
``拍肩,药``                             two parts, one of them a single character: a combination; 药 alone says nothing
``TMD=>真美妙`` ``地震=地灾``             the word, and as a tag what others put in its place
``word<TAB>…``                         more columns: a risk's id, an action, a number (weights are dropped), longer
                                       words that contain the word (exceptions), else a tag
``word,3`` ``word,A1f`` ``word,block``   the same columns behind a comma
``word,tag``                           a tag, where nine lines in ten are pairs and their second halves repeat
``word 1``                             a weight, where half of the lines end in a number; else part of the word
``国内政要人物：``                        a heading: reported
=====================================  ================================================================================

Blanks within a word (``法 轮 功``) stay, for the fold drops them, and so does ``/``, of which addresses are full.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple

from keywords import spreadsheet
from keywords.entry import ASKED_ONLY, Action, Boundary, Direction, Entry, Match, faults
from keywords.risks import RISKS

MOST_LINES = 500_000
MOST_BYTES = 64 << 20
LONGEST_QUOTE = 50  # lines that a quoted cell may reach over; beyond, its closing quote is taken for missing
SHOWN = 80  # characters of a rejected line in the report
COLUMNS = tuple(field.name for field in fields(Entry))
WANTED = "wanted: "
"""In the note of an imported entry, before the action that its file asked for."""

_ENUMS: Mapping[str, type[StrEnum]] = {"action": Action, "match": Match, "direction": Direction, "boundary": Boundary}
_NUMBERS = frozenset({"severity", "within", "reviewed_at", "expires_at", "benign_hits"})
_LISTS = frozenset({"exceptions", "tags"})
_SIGNS = re.compile(r"[,，、|｜;；]")
_COMBINATION = re.compile(r"[^+=]+(?:\+[^+=]+)+")
_REPLACED = re.compile(r"([^=+/?]+)=>?(.*)")
_WEIGHTED = re.compile(r"(\S.*?)\s+[0-9]+(?:\.[0-9]+)?")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")
_WHOLE = re.compile(r"(-?[0-9]{1,15})(?:\.0+)?")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet would run, and what was already kept from it


class Unreadable(Exception):
    """The file as a whole cannot be imported; the words are for whoever chose it."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line, counted from 1, that became no entry; *text* is its beginning."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file held. Ids are 0: the store gives them. *duplicates*: rows that said once more what was there."""

    entries: list[Entry]
    rejected: list[Rejected]
    duplicates: int


class _Row(NamedTuple):
    """A word as it was found: its cells by column, or the reason why there are none."""

    line: int
    text: str
    cells: Mapping[str, str] | str


class _Layout(NamedTuple):
    """Whether most lines of a text end in a weight, or in a tag."""

    weights: bool
    tags: bool


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
    """Return the entries of a file called *name*: .csv, .xlsx, anything else is plain text.

    The other arguments fill what a row leaves open. A row's own action is only wished for: it is written into the note
    (see `wanted`) and the entry arrives with *action*, since nothing that was never measured shall block; with
    *keep_actions*, for a file that this system wrote, it counts. A bad row is reported, the others are imported.
    Raises `Unreadable`.
    """
    if len(data) > MOST_BYTES:
        raise Unreadable(f"has more than {MOST_BYTES >> 20} MB")
    given = Entry(id=0, term="", risk=risk, source=source, licence=licence, added_by=added_by, action=action)
    imported = Imported([], [], 0)
    seen: set[tuple[object, ...]] = set()
    duplicates = 0
    for line, text, cells in _rows(data, name):
        entry = cells if isinstance(cells, str) else _entry(cells, given, keep_actions=keep_actions)
        if isinstance(entry, str):
            imported.rejected.append(Rejected(line, text[:SHOWN], entry))
        elif (key := identity(entry)) in seen:
            duplicates += 1
        else:
            seen.add(key)
            imported.entries.append(entry)
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

    A cell that a spreadsheet would take for a formula gets an apostrophe, which `read` takes off.
    """
    writer = csv.writer(out := io.StringIO(newline=""))
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow([_guarded(_cell(getattr(entry, column))) for column in COLUMNS])
    return codecs.BOM_UTF8 + out.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return "|".join(part.replace("\\", r"\\").replace("|", r"\|") for part in value)
    return "" if value is None else str(value)


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


# From cells to an entry


def _entry(cells: Mapping[str, str], given: Entry, *, keep_actions: bool) -> Entry | str:
    """Return the entry that *cells* describe, or what is wrong with them."""
    values: dict[str, object] = {"term": cells["term"].strip()}
    for column, cell in cells.items():
        if column in {"id", "term"} or not cell.strip():
            continue
        try:
            values[column] = _value(column, cell)
        except ValueError as error:
            return f"{column}: {error}"
    if values.get("match") in ASKED_ONLY:
        values.setdefault("direction", Direction.IN)
    wish = values.get("action", given.action)
    if wish is not given.action and not keep_actions:
        values["action"] = given.action
        values["note"] = " ".join(filter(None, (values.get("note"), f"{WANTED}{wish}")))  # type: ignore[arg-type]
    entry = replace(given, **values)  # type: ignore[arg-type]
    return "; ".join(f"{field}: {reason}" for field, reason in faults(entry)) or entry


def _value(column: str, cell: str) -> object:
    """Return *cell* as the type of its column. Raises ValueError with words for the reader."""
    if column in _LISTS:
        return tuple(filter(None, _split_list(cell)))
    plain = cell.strip()
    if column in _NUMBERS:
        if not (whole := _WHOLE.fullmatch(plain)):
            raise ValueError(f"`{plain[:SHOWN]}` is no whole number")
        return int(whole[1])
    if column in _ENUMS:
        if plain.lower() not in list(_ENUMS[column]):
            raise ValueError(f"`{plain[:SHOWN]}` is none of {', '.join(_ENUMS[column])}")
        return _ENUMS[column](plain.lower())
    return plain if column == "risk" else cell


def _split_list(cell: str) -> list[str]:
    r"""Split at ``|``, where ``\|`` is no end and ``\\`` is one backslash."""
    parts = [""]
    for sign in re.findall(r"\\[\\|]|.", cell, re.DOTALL):
        if sign == "|":
            parts.append("")
        else:
            parts[-1] += sign[-1]
    return parts


# From bytes to rows


def _rows(data: bytes, name: str) -> Iterator[_Row]:
    ending = name.lower().rpartition(".")[2]
    if ending == "xlsx" or data.startswith(b"PK\x03\x04"):
        return _table(_sheet_records(data))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if ending == "csv":
        return _table(_csv_records(_decoded(data, ends_alone=b"\n" not in data)))
    return _text_rows(_decoded(data, ends_alone=True))


def _decoded(data: bytes, *, ends_alone: bool) -> list[str | bytes]:
    """Return the lines; one that the encoding of most others does not fit stays bytes.

    *ends_alone*: a carriage return is an end of line too; not in csv, where it may stand within a cell.
    """
    if ends_alone:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if len(raw) - (not raw[-1]) > MOST_LINES:
        raise Unreadable(f"has more than {MOST_LINES} lines")
    foreign = [line for line in raw if not line.isascii()]
    fitting = sum(isinstance(_try(line, "utf-8"), str) for line in foreign)
    encoding = "utf-8" if fitting * 2 >= len(foreign) else "gb18030"
    return [_try(line, encoding) for line in raw]


def _try(line: bytes, encoding: str) -> str | bytes:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line


# Plain text


def _text_rows(lines: Sequence[str | bytes]) -> Iterator[_Row]:
    layout = _layout([line.strip() for line in lines if isinstance(line, str) and line.strip()])
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            yield _Row(number, line.decode("utf-8", "replace"), "is not in the encoding of the other lines")
            continue
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.endswith((":", "：")):
            yield _Row(number, text, "is a heading, not a word")
            continue
        yield from (_Row(number, text, cells) for cells in _words(text, layout))


def _layout(lines: Sequence[str]) -> _Layout:
    pairs = [halves for line in lines if len(halves := _parts(line)) == 2]
    seconds = Counter(second for _, second in pairs)
    return _Layout(
        weights=2 * sum(_WEIGHTED.fullmatch(line) is not None for line in lines) >= len(lines),
        tags=len(pairs) * 10 >= len(lines) * 9 and len(seconds) * 2 <= len(pairs),
    )


def _parts(text: str) -> list[str]:
    return [part for piece in _SIGNS.split(text) if (part := piece.strip())]


def _words(text: str, layout: _Layout) -> Iterator[dict[str, str]]:
    """Yield the cells of each word of one line."""
    first, *columns = (column.strip() for column in text.split("\t"))
    if layout.weights and (weighted := _WEIGHTED.fullmatch(first)):
        first = weighted[1]
    if _COMBINATION.fullmatch(first):
        parts = [part.strip() for part in first.split("+")]
        yield {**_several(parts), **_columns(first, columns)}
        return
    if replaced := _REPLACED.fullmatch(first):
        first = replaced[1].strip()
        columns += [tag for tag in [replaced[2].strip()] if any(map(str.isalnum, tag))]
    parts = _parts(first)
    words = [part for part in parts if not _is_column(part)] or parts
    if layout.tags and len(parts) == len(words) == 2:
        words = words[:1]
    columns = [*(part for part in parts if part not in words), *columns]
    if len(words) > 1 and min(map(len, words)) == 1 and (len(words) == 2 or max(map(len, words)) == 1):
        yield {**_several(words), **_columns(first, columns)}
    else:
        yield from ({"term": word, **_columns(word, columns)} for word in words or [first])


def _several(parts: Sequence[str]) -> dict[str, str]:
    """Return one word that is written apart, or a combination."""
    if max(map(len, parts)) == 1:
        return {"term": "".join(parts)}
    return {"term": " & ".join(parts), "match": Match.COMBO.value}


def _is_column(part: str) -> bool:
    """Return whether *part* says something about a word and is none."""
    return part in RISKS or part.lower() in list(Action) or _NUMBER.fullmatch(part) is not None


def _columns(term: str, columns: Iterable[str]) -> dict[str, str]:
    """Return what the columns behind *term* mean."""
    cells: dict[str, str] = {}
    tags = []
    for column in columns:
        if column in RISKS:
            cells["risk"] = column
        elif column.lower() in list(Action):
            cells["action"] = column
        elif (longer := _parts(column)) and all(term in word and term != word for word in longer):
            cells["exceptions"] = _cell(tuple(longer))
        elif column and not _is_column(column):
            tags.append(column)
    return {**cells, "tags": _cell(tuple(tags))} if tags else cells


# Tables


def _table(records: Iterator[tuple[int, Sequence[str] | str]]) -> Iterator[_Row]:
    """Yield the rows below the header. Raises `Unreadable` where the header is not one of ours."""
    header = next((record for _, record in records if not isinstance(record, str) and any(record)), ())
    names = [name.strip().lower() for name in header]
    for name in names:
        if name and name not in COLUMNS:
            raise Unreadable(f"unknown column `{name[:SHOWN]}`; known are {', '.join(COLUMNS)}")
    if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise Unreadable(f"column `{twice[0]}` stands there twice")
    if "term" not in names:
        raise Unreadable("has no column `term`: the first row must name the columns")
    for number, record in records:
        if isinstance(record, str):
            yield _Row(number, record, "a quote is not closed, or the line is in another encoding")
        elif any(cell.strip() for cell in record):
            text = ",".join(cell[:SHOWN] for cell in record[:SHOWN])
            beyond = [cell for cell, name in zip(record, [*names, *[""] * len(record)], strict=False) if not name]
            cells = dict(zip(names, [*record, *[""] * len(names)], strict=False))
            yield _Row(number, text, "has a cell under no column" if any(beyond) else cells)


def _csv_records(lines: Sequence[str | bytes]) -> Iterator[tuple[int, Sequence[str] | str]]:
    """Yield number and cells of each record, or the beginning of a line that cannot be read."""
    head = next((line for line in lines if isinstance(line, str) and line.strip()), "")
    delimiter = next((sign for sign in ",\t;" if sign in head), ",")
    at = 0
    while at < len(lines):
        size, record = _record(lines[at : at + LONGEST_QUOTE])
        if record is None:
            line = lines[at]
            yield at + 1, line if isinstance(line, str) else line.decode("utf-8", "replace")
        elif record.strip():
            try:
                yield at + 1, [_unguarded(cell) for cell in next(csv.reader([record], delimiter=delimiter))]
            except csv.Error:
                yield at + 1, record
        at += size


def _record(lines: Sequence[str | bytes]) -> tuple[int, str | None]:
    """Return the record at the begin of *lines*, and how many it takes; None where it does not end."""
    record = ""
    for size, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            return 1, None
        record += line if size == 1 else f"\n{line}"
        if record.count('"') % 2 == 0:
            return size, record
    return 1, None


def _sheet_records(data: bytes) -> Iterator[tuple[int, Sequence[str] | str]]:
    """Yield number and cells of each row of the first sheet."""
    try:
        yield from spreadsheet.first_sheet(data, most_rows=MOST_LINES)
    except spreadsheet.BadSheet as error:
        raise Unreadable(str(error)) from None
