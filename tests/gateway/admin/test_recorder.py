"""Records of admins: in a chain, and of denied requests not too many."""

import logging
from pathlib import Path

import pytest

from gateway.admin.recorder import DENIED_PER_SECOND, Action, Chained, Denials, Unrecorded, put_denied
from gateway.audit.entries import Admin, decode
from gateway.audit.segments import read
from gateway.audit.writer import open_writer
from tests.gateway.admin.conftest import Listed


async def test_records_go_into_the_chain(tmp_path: Path) -> None:
    """As the log has them."""
    writer = open_writer(tmp_path, "control")
    record = Action(id="a", action="POST /x", admin="ann", role="admin", address="10.0.0.1").record("ok", 201)
    await Chained(writer).put(record)
    await Unrecorded().put(record)
    writer.close()
    found = [decode(row.body) for row in read(writer.slot.directory)]
    assert [one for one in found if isinstance(one, Admin)] == [record]


def test_a_flood_of_denials_is_only_counted() -> None:
    """The next one on record says how many were not."""
    denials = Denials()
    taken = [denials.take(7.5) for _ in range(DENIED_PER_SECOND + 3)]
    assert taken == [0] * DENIED_PER_SECOND + [None] * 3
    assert (denials.take(8.0), denials.take(8.1)) == (3, 0)


async def test_a_denial_stands_without_its_record(caplog: pytest.LogCaptureFixture) -> None:
    """The log of the process says that it is missing."""
    records = Listed()
    await put_denied(records, Denials(), Action(id="a", action="POST /x"), 403, "role_missing")
    assert [(one.outcome, one.status, one.details) for one in records.kept] == [
        ("denied", 403, {"code": "role_missing"})
    ]
    records.broken = True
    with caplog.at_level(logging.WARNING):
        await put_denied(records, Denials(), Action(id="a", action="POST /x"), 403, "role_missing")
    assert "not on record" in caplog.text
