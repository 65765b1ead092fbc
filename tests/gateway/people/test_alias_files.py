"""Aliases out of a file."""

import pytest

from gateway.people import alias_files
from gateway.people.alias_files import read, take_in
from gateway.people.aliases import Row
from gateway.people.errors import MeasureRefused
from tests.gateway.people.conftest import World


def test_a_file_with_and_without_its_header() -> None:
    """Quotes, the mark of Excel, empty lines, and what a spreadsheet guards are read."""
    data = '\ufefftenant,alias,user\r\nt,"a,b",ann\r\n\r\n,\'=1,ann\r\n'.encode()
    rows, faults = read(data)
    assert (rows, faults) == ([(2, Row("t", "a,b", "ann")), (4, Row("default", "=1", "ann"))], [])
    assert read(b"t,a,ann\n")[0] == [(1, Row("t", "a", "ann"))]


@pytest.mark.parametrize(
    "header", ["user,alias,tenant", "alias,user", "tenant;alias;user", "tenant_id,alias,user_id", "Tenant\tAlias\tUser"]
)
def test_another_header_is_refused_by_name(header: str) -> None:
    """In place of entering its names as people: the columns that are expected are told."""
    with pytest.raises(MeasureRefused, match=r"line 2: its columns are .* expected is `tenant,alias,user`") as refused:
        read(f"\n{header}\nt,a,ann\n".encode())
    assert (refused.value.field, refused.value.conflict) == ("body", False)


def test_somebody_may_be_called_like_a_column() -> None:
    """Behind the header, or in any row but the first."""
    rows, faults = read(b" Tenant,ALIAS,user\nt,user,ann\nt,x,alias\n")
    assert ([row for _, row in rows], faults) == ([Row("t", "user", "ann"), Row("t", "x", "alias")], [])


def test_faults_name_line_and_field() -> None:
    """Each row that cannot be read is told, and the others are."""
    rows, faults = read(b"t,a,ann\nt,b\nt,,ann\nt,unknown,ann\n" + b"x" * 65 + b",c,ann\n")
    assert [line for line, _ in rows] == [1]
    assert [(one.line, one.field) for one in faults] == [(2, "body"), (3, "alias"), (4, "alias"), (5, "tenant")]


@pytest.mark.parametrize("data", [b"\xff\xfe", b't,"a\n', b"x,y,z\n" * 11])
def test_what_is_no_such_file(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other encodings, open quotes and too many rows are refused whole."""
    monkeypatch.setattr(alias_files, "MOST_ROWS", 10)
    with pytest.raises(MeasureRefused) as refused:
        read(data)
    assert refused.value.field == "body"


async def test_what_becomes_of_each_line(world: World) -> None:
    """Counts, and the lines that were refused; a second time nothing changes."""
    data = b"tenant,alias,user\nt,a,ann\nt,b,a\nt,c\nt,a,ann\n"
    found = await take_in(world.services.aliases, data, "r", "eve")
    assert (found["added"], found["unchanged"], found["refused"]) == (1, 1, 2)
    assert [(one["line"], one["field"]) for one in found["errors"]] == [(3, "user"), (4, "body")]
    again = await take_in(world.services.aliases, data, "r", "eve")
    assert (again["added"], again["unchanged"]) == (0, 2)
