"""A file of entries, as bytes, into rows: by its ending, and never by guess."""

import codecs
import csv
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from keywords import spreadsheet
from keywords.cells import COLUMNS, SHOWN, Row, Wordless, cell_of, unguarded
from keywords.wordlists import text_rows

ENDINGS = ("txt", "csv", "xlsx", "jsonl")
ACCEPTED = "accepted are .txt (a word a line), .csv and .xlsx (the first row names the columns) and .jsonl"
LONGEST_QUOTE = 50  # lines that a quoted cell may reach over; beyond, its closing quote is taken for missing
ZIP = b"PK\x03\x04"
Record = tuple[int, Sequence[str] | str | Wordless]
"""The number of a table's line, and its cells; or its beginning, where it cannot be read."""
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b"))
"""Bytes that stand in no text, in whatever encoding of Chinese."""


class Unreadable(Exception):
    """The file as a whole cannot be imported; the words, behind the file's name, are for whoever chose it."""


class UnknownEnding(Unreadable):
    """Nothing says of which form the file is."""


def rows(data: bytes, name: str, most: int) -> Iterator[Row]:
    """Return the rows, *most* at most, of a file called *name*; a zip archive is an xlsx file whatever its ending.

    Raises `Unreadable`, here or at the first row.
    """
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if ending not in ENDINGS:
        raise UnknownEnding(f"has {f'the ending .{ending[:SHOWN]}' if ending else 'no ending'}: {ACCEPTED}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise Unreadable("is empty")
    if ending == "xlsx" or data.startswith(ZIP):
        return _table(_sheet_records(data, most))
    if b"\0" in data or len(data) - len(data.translate(None, CONTROLS)) > len(data) // 100:
        raise Unreadable(f"is no text (UTF-8, GB18030, or UTF-16 with its mark): {ACCEPTED}")
    if ending == "csv":
        return _table(_csv_records(_decoded(data, most, ends_alone=b"\n" not in data)))
    lines = _decoded(data, most, ends_alone=True)
    return _objects(lines) if ending == "jsonl" else text_rows(lines)


def _decoded(data: bytes, most: int, *, ends_alone: bool) -> list[str | bytes]:
    """Return the lines; one that the encoding of most others does not fit stays bytes.

    *ends_alone*: a carriage return is an end of line too; not in csv, where it may stand within a cell.
    """
    if ends_alone:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not raw[-1]:
        raw.pop()  # the last line had its end
    if len(raw) > most:
        raise Unreadable(f"has more than {most} lines")
    foreign = [line for line in raw if not line.isascii()]
    fitting = sum(isinstance(_try(line, "utf-8"), str) for line in foreign)
    encoding = "utf-8" if fitting * 2 >= len(foreign) else "gb18030"
    return [_try(line, encoding) for line in raw]


def _try(line: bytes, encoding: str) -> str | bytes:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line


# JSON lines


def _objects(lines: Sequence[str | bytes]) -> Iterator[Row]:
    """Yield the row of each line, an object whose names are ours."""
    decoder = msgspec.json.Decoder(dict[str, str | int | float | list[str] | None])
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            yield Row(number, line.decode("utf-8", "replace"), "is not in the encoding of the other lines")
        elif not line.strip():
            yield Row(number, "", Wordless.BLANK)
        else:
            try:
                yield Row(number, line, _cells(decoder.decode(line)))
            except msgspec.DecodeError as error:
                yield Row(number, line, f"is no JSON object of texts, numbers and lists of texts: {error}")


def _cells(found: dict[str, str | int | float | list[str] | None]) -> dict[str, str | None] | str:
    """Return the cells of one object; what is null, or an empty text that is no mask, is left open."""
    for name in found:
        if name not in COLUMNS:
            return f"unknown field `{name[:SHOWN]}`; known are {', '.join(COLUMNS)}"
    if "term" not in found:
        return "has no field `term`"
    texts = {name: cell_of(tuple(value) if isinstance(value, list) else value) for name, value in found.items()}
    return {name: None if found[name] is None or not (text or name == "mask") else text for name, text in texts.items()}


# Tables


def _table(records: Iterator[Record]) -> Iterator[Row]:
    """Yield the header, and the rows below it. Raises `Unreadable` where the header is not one of ours."""
    names: list[str] | None = None
    for number, record in records:
        if isinstance(record, str):
            yield Row(number, record, "a quote is not closed, or the line is in another encoding")
        elif isinstance(record, Wordless):
            yield Row(number, "", record)
        elif not any(cell.strip() for cell in record):
            yield Row(number, "", Wordless.BLANK)
        elif names is None:
            names = _header(record)
            yield Row(number, "", Wordless.HEADER)
        else:
            text = ",".join(cell[:SHOWN] for cell in record[:SHOWN])
            beyond = [cell for cell, name in zip(record, [*names, *[""] * len(record)], strict=False) if not name]
            cells = dict(zip(names, map(unguarded, [*record, *[""] * len(names)]), strict=False))
            yield Row(number, text, "has a cell under no column" if any(beyond) else cells)
    if names is None:
        _header(())


def _header(record: Sequence[str]) -> list[str]:
    """Return the names of the columns. Raises `Unreadable` where they are not ours."""
    names = [name.strip().lower() for name in record]
    for name in names:
        if name and name not in COLUMNS:
            raise Unreadable(f"unknown column `{name[:SHOWN]}`; known are {', '.join(COLUMNS)}")
    if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
        raise Unreadable(f"column `{twice[0]}` stands there twice")
    if "term" not in names:
        raise Unreadable("has no column `term`: the first row must name the columns")
    return names


def _csv_records(lines: Sequence[str | bytes]) -> Iterator[Record]:
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
                yield at + 1, next(csv.reader([record], delimiter=delimiter))
            except csv.Error:
                yield at + 1, record
        else:
            yield at + 1, Wordless.BLANK
        for further in range(1, size):
            yield at + 1 + further, Wordless.CONTINUED
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


def _sheet_records(data: bytes, most: int) -> Iterator[Record]:
    """Yield number and cells of each row of the first sheet; of rows that the file leaves out, that they are blank."""
    last = 0
    try:
        for number, cells in spreadsheet.first_sheet(data, most_rows=most):
            yield from ((left_out, Wordless.BLANK) for left_out in range(last + 1, number))
            yield number, cells
            last = max(last, number)
    except spreadsheet.BadSheet as error:
        raise Unreadable(str(error)) from None
