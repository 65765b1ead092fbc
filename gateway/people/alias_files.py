"""Aliases out of files: CSV with the columns tenant, alias, user."""

import asyncio
import csv
import io
import re
from collections import Counter
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.key_fields import Name
from gateway.keys import DEFAULT_TENANT
from gateway.people.aliases import Aliases, Became, Row
from gateway.people.errors import MeasureRefused
from gateway.people.fields import User
from keywords.cells import unguarded

COLUMNS = ("tenant", "alias", "user")
HEADER_WORDS = frozenset({*COLUMNS, "tenant_id", "alias_id", "user_id", "userid", "person", "person_id", "username"})
"""In a first row, these are names of columns and no people: entered, they would be aliases of each other."""
MOST_BYTES = 16 * 1024 * 1024
MOST_ROWS = 50_000
SHOWN = 1_000
"""Refused lines in an answer."""


class Line(BaseModel):
    """A row as it has to be."""

    model_config = ConfigDict(extra="forbid")

    tenant: Name = DEFAULT_TENANT
    alias: User
    user: User


class Fault(NamedTuple):
    """What is wrong with a line, counted from 1."""

    line: int
    field: str
    reason: str


async def take_in(aliases: Aliases, data: bytes, reason: str, by: str) -> dict[str, Any]:
    """Enter the aliases of a file; return counts, and line, field and reason of each row that was refused.

    Rows that can be entered are. Raises `MeasureRefused` naming ``body``, and what `Aliases.add_all` raises.
    """
    rows, faults = await asyncio.to_thread(read, data)
    entered = await aliases.add_all([row for _, row in rows], reason, by)
    for (line, _), one in zip(rows, entered, strict=True):
        if one.became is Became.REFUSED:
            faults.append(Fault(line, one.field, one.reason))
    faults.sort()
    counts = Counter(one.became for one in entered)
    return {
        **{str(kind): counts[kind] for kind in Became},
        "refused": len({fault.line for fault in faults}),
        "errors": [fault._asdict() for fault in faults[:SHOWN]],
    }


def read(data: bytes) -> tuple[list[tuple[int, Row]], list[Fault]]:
    """Return the rows of a file with their lines, and what is wrong with the others. Raises `MeasureRefused`."""
    if len(data) > MOST_BYTES:
        raise MeasureRefused("body", f"has more than {MOST_BYTES} bytes", conflict=False)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MeasureRefused("body", f"is not UTF-8: byte {error.start}", conflict=False) from None
    rows: list[tuple[int, Row]] = []
    faults: list[Fault] = []
    begun = False
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            first, begun = not begun and any(cells), begun or any(cells)
            if not any(cells) or (first and _is_header(reader.line_num, cells)):
                continue
            if len(rows) + len(faults) >= MOST_ROWS:
                raise MeasureRefused("body", f"has more than {MOST_ROWS} rows", conflict=False)
            found = _row(reader.line_num, cells)
            if isinstance(found, Row):
                rows.append((reader.line_num, found))
            else:
                faults += found
    except csv.Error as error:
        raise MeasureRefused("body", f"line {reader.line_num}: {error}", conflict=False) from None
    return rows, faults


def _is_header(line: int, cells: list[str]) -> bool:
    """Return whether the first row names the columns. Raises `MeasureRefused` where it names others."""
    names = tuple(cell.strip().casefold() for cell in re.split("[,;\t|]", ",".join(cells)))
    if names == COLUMNS and len(cells) == len(COLUMNS):
        return True
    if not HEADER_WORDS.isdisjoint(names):
        expected = ",".join(COLUMNS)
        text = f"line {line}: its columns are `{','.join(cells)[:200]}`; expected is `{expected}`, with commas between"
        raise MeasureRefused(
            "body", f"{text} (a first row that only looks like names needs that line before it)", conflict=False
        )
    return False


def _row(line: int, cells: list[str]) -> Row | list[Fault]:
    if len(cells) != len(COLUMNS):
        return [Fault(line, "body", f"has {len(cells)} cells; the columns are {', '.join(COLUMNS)}")]
    given = {name: plain for name, cell in zip(COLUMNS, cells, strict=True) if (plain := unguarded(cell)) is not None}
    try:
        return Row(**Line.model_validate(given).model_dump())
    except ValidationError as error:
        return [Fault(line, str(found["loc"][0]), found["msg"]) for found in error.errors()]
