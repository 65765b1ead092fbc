"""An entry's fields as the texts that stand in the cells of a table, and back."""

import re
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum, StrEnum
from typing import NamedTuple

from keywords.entry import Action, Boundary, Direction, Entry, Match

SHOWN = 80
"""Characters of a rejected cell or line in a report."""
COLUMNS = tuple(field.name for field in fields(Entry))

_ENUMS: Mapping[str, type[StrEnum]] = {"action": Action, "match": Match, "direction": Direction, "boundary": Boundary}
_NUMBERS = frozenset({"severity", "within", "reviewed_at", "expires_at", "benign_hits", "benign_texts"})
_LISTS = frozenset({"exceptions", "tags"})
_WHOLE = re.compile(r"(-?[0-9]{1,15})(?:\.0+)?")
_GUARDED = re.compile(r"'*(?:[=+\-@\t\r]|\s*$)")
"""What a spreadsheet would run, or a blank that means something; and what already has its apostrophe."""


class Wordless(Enum):
    """What a line is that says no word; the value is the name of its count."""

    BLANK = "blank"
    COMMENT = "comments"
    HEADER = "header"
    """Names the columns."""
    CONTINUED = "continued"
    """Belongs to the record that began on a line before."""


class Row(NamedTuple):
    """What stands on a line, counted from 1: the cells by column, or the reason why there are none.

    A cell that is None is blank: whoever imports says what stands there. *text* is the line's beginning.
    """

    line: int
    text: str
    cells: Mapping[str, str | None] | str | Wordless


def cell_of(value: object) -> str:
    """Return the *value* of a field as text; a list with ``|`` between its parts."""
    if isinstance(value, tuple):
        return "|".join(part.replace("\\", r"\\").replace("|", r"\|") for part in value)
    return "" if value is None else str(value)


def value_of(column: str, cell: str) -> object:
    """Return *cell* as the type of its *column*. Raises ValueError with words for the reader."""
    if column in _LISTS:
        return tuple(filter(None, _split(cell)))
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


def _split(cell: str) -> list[str]:
    r"""Split at ``|``, where ``\|`` is no end and ``\\`` is one backslash."""
    parts = [""]
    for sign in re.findall(r"\\[\\|]|.", cell, re.DOTALL):
        if sign == "|":
            parts.append("")
        else:
            parts[-1] += sign[-1]
    return parts


def guarded(column: str, cell: str) -> str:
    """Return *cell* with an apostrophe before what a spreadsheet would run, and before a blank that means something.

    An empty *column* of texts is left open, but for an empty mask: that is another than the usual one.
    """
    if not cell and column != "mask":
        return cell
    return f"'{cell}" if _GUARDED.match(cell) else cell


def unguarded(cell: str) -> str | None:
    """Return what `guarded` was given; None for a blank."""
    if cell.startswith("'") and _GUARDED.match(cell):
        return cell[1:]
    return cell if cell.strip() else None
