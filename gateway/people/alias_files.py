"""Aliases out of files: CSV with the columns tenant, alias, user."""

import asyncio
import csv
import io
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.key_fields import Name
from gateway.keys import DEFAULT_TENANT
from gateway.people.aliases import Aliases, Became, Row
from gateway.people.errors import MeasureRefused
from gateway.people.fields import User
from keywords.cells import unguarded

COLUMNS = ("tenant", "alias", "user")
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
    counts = {str(kind): sum(one.became is kind for one in entered) for kind in Became}
    return {
        **counts,
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
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if not any(cells) or (not rows and not faults and tuple(map(str.strip, cells)) == COLUMNS):
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


def _row(line: int, cells: list[str]) -> Row | list[Fault]:
    if len(cells) != len(COLUMNS):
        return [Fault(line, "body", f"has {len(cells)} cells; the columns are {', '.join(COLUMNS)}")]
    given = {name: plain for name, cell in zip(COLUMNS, cells, strict=True) if (plain := unguarded(cell)) is not None}
    try:
        return Row(**Line.model_validate(given).model_dump())
    except ValidationError as error:
        return [Fault(line, str(found["loc"][0]), found["msg"]) for found in error.errors()]
