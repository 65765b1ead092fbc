"""The first sheet of an xlsx file, from bytes of unknown intent.

An xlsx file is a zip archive of XML files. Both can be made to grow without end when they are opened; here the bytes
unpacked and the characters in cells are counted, and a document type, without which there are no entities, is refused.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Protocol
from xml.etree import ElementTree as ET

MOST_UNPACKED = 50 << 20
"""Bytes unpacked of one file, and characters in the cells of its sheet: cells may share one long text."""
MOST_COLUMNS = 64
LAST_ROW = 1_048_576
"""Of a sheet, in Excel."""
CHUNK = 1 << 16
BOOK = "xl/workbook.xml"
STRINGS = "xl/sharedStrings.xml"

_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


class BadSheet(Exception):
    """The file cannot be read; the words are for whoever chose it."""


def first_sheet(data: bytes, *, most_rows: int) -> Iterator[tuple[int, list[str]]]:
    """Yield number and cells of each row that has any. Numbers stand as they are stored. Raises `BadSheet`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            archive = _Archive(book)
            strings = _Strings()
            if archive.has(STRINGS):
                archive.parse(STRINGS, strings)
            sheet = _Sheet(strings.texts, most_rows)
            archive.parse(_first_name(archive), sheet)
    except (ET.ParseError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError) as error:
        raise BadSheet(f"is no readable xlsx file ({type(error).__name__})") from None
    for number, cells in sheet.rows:
        yield number, [cells.get(column, "") for column in range(max(cells) + 1)]


class _Target(Protocol):
    """What the parser tells; the methods' names are ElementTree's."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None: ...
    def end(self, tag: str) -> None: ...
    def data(self, text: str) -> None: ...
    def doctype(self, *what: object) -> None: ...
    def close(self) -> None: ...


class _Archive:
    """The files within an xlsx file, of which no more than `MOST_UNPACKED` bytes are unpacked in all."""

    def __init__(self, book: zipfile.ZipFile) -> None:
        self._book = book
        self._left = MOST_UNPACKED

    def has(self, name: str) -> bool:
        return name in self._book.namelist()

    def parse(self, name: str, target: _Target) -> None:
        parser = ET.XMLParser(target=target)  # noqa: S314 - see the import
        with self._book.open(name) as file:
            while chunk := file.read(CHUNK):
                self._left -= len(chunk)  # what comes, not what the archive's list promises
                if self._left < 0:
                    raise BadSheet(f"has more than {MOST_UNPACKED >> 20} MB when unpacked")
                parser.feed(chunk)
        parser.close()


class _Nothing:
    """Listens to nothing, and to no document type at all."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None: ...
    def end(self, tag: str) -> None: ...
    def data(self, text: str) -> None: ...
    def close(self) -> None: ...

    def doctype(self, *what: object) -> None:
        del what
        raise BadSheet("has a document type; spreadsheets have none")


class _Attributes(_Nothing):
    """The attributes of every element of one kind, their namespaces taken off."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.found: list[dict[str, str]] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if _local(tag) == self._tag:
            self.found.append({_local(name): value for name, value in attributes.items()})


def _first_name(archive: _Archive) -> str:
    """Return where the first sheet lies."""
    sheets, relations = _Attributes("sheet"), _Attributes("Relationship")
    if not archive.has(BOOK):
        raise BadSheet("is a zip archive of something else than a spreadsheet")
    archive.parse(BOOK, sheets)
    archive.parse("xl/_rels/workbook.xml.rels", relations)
    if not sheets.found:
        raise BadSheet("has no sheet")
    wanted = sheets.found[0]["id"]
    target = {relation["Id"]: relation["Target"] for relation in relations.found}[wanted]
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Texts(_Nothing):
    """Gathers the characters within some elements, without the readings (rPh) that Excel puts over ideographs."""

    GATHERED = frozenset({"t"})

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._gathers = self._reading = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        local = _local(tag)
        self._reading |= local == "rPh"
        self._gathers = local in self.GATHERED and not self._reading
        self.begin(local, attributes)

    def end(self, tag: str) -> None:
        local = _local(tag)
        self._gathers = False
        self._reading &= local != "rPh"
        self.finish(local)

    def data(self, text: str) -> None:
        if self._gathers:
            self._pieces.append(text)

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None: ...
    def finish(self, tag: str) -> None: ...

    def take(self) -> str:
        """Return what was gathered, and begin anew."""
        text = "".join(self._pieces)
        self._pieces.clear()
        return text


class _Strings(_Texts):
    """The texts that cells refer to by number."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def finish(self, tag: str) -> None:
        if tag == "si":
            self.texts.append(self.take())


class _Sheet(_Texts):
    """The rows of a sheet: the row's number, and its cells by column from 0."""

    GATHERED = frozenset({"t", "v"})

    def __init__(self, strings: list[str], most_rows: int) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[int, str]]] = []
        self._strings = strings
        self._most = most_rows
        self._left = MOST_UNPACKED
        self._number = self._column = 0
        self._kind = ""
        self._cells: dict[int, str] = {}

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "row":
            self._number = int(attributes.get("r", self._number + 1))
            if not 1 <= self._number <= LAST_ROW:
                raise BadSheet(f"has a row that is numbered {self._number}; the last one is {LAST_ROW}")
            self._column = -1
            self._cells = {}
        elif tag == "c":
            place = _PLACE.fullmatch(attributes.get("r", ""))
            self._column = _column(place[1]) if place else self._column + 1
            self._kind = attributes.get("t", "")
            self.take()

    def finish(self, tag: str) -> None:
        if tag == "c":
            self._enter(self.take())
        elif tag == "row" and self._cells:
            if len(self.rows) == self._most:
                raise BadSheet(f"has more than {self._most} rows")
            self.rows.append((self._number, self._cells))

    def _enter(self, text: str) -> None:
        if self._kind == "s" and text:
            number = int(text)
            text = self._strings[number] if 0 <= number < len(self._strings) else ""
        if not text:
            return
        self._left -= len(text)
        if self._left < 0:
            raise BadSheet(f"has more than {MOST_UNPACKED} characters in its cells")
        if self._column >= MOST_COLUMNS:
            raise BadSheet(f"has more than {MOST_COLUMNS} columns")
        self._cells[self._column] = text


def _column(letters: str) -> int:
    """Return the number, from 0, of the column that is called *letters*: A, B … Z, AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1
