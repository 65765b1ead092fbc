"""Complaints as files."""

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from gateway.complaints.export import COLUMNS, Format, written

ROW = dict.fromkeys(COLUMNS) | {"id": "cmp_1", "text": '=cmd|"x"\n', "user": "-1", "due_at": 7}


async def export(form: Format) -> bytes:
    async def parts() -> AsyncIterator[list[dict[str, Any]]]:
        yield [ROW]
        yield [{**ROW, "id": "cmp_2"}]

    return b"".join([part async for part in written(parts(), form)])


async def test_csv_is_text_to_a_spreadsheet() -> None:
    """What begins like a formula does not begin so in the file."""
    text = (await export("csv")).decode("utf-8-sig")
    header, first, second = csv.reader(io.StringIO(text))
    assert list(COLUMNS) == header
    told = dict(zip(header, first, strict=True))
    assert ("cmp_1", '\'=cmd|"x"\n', "'-1", "7", "") == (
        told["id"],
        told["text"],
        told["user"],
        told["due_at"],
        told["kind"],
    )
    assert second[0] == "cmp_2"


async def test_json_lines_are_as_they_are() -> None:
    """One row a line."""
    lines = (await export("jsonl")).splitlines()
    assert [ROW, {**ROW, "id": "cmp_2"}] == [msgspec.json.decode(line) for line in lines]
