"""What is old goes in whole files, and the chain can be checked behind it."""

from pathlib import Path

import pytest

from gateway.audit.entries import Admin, decode
from gateway.audit.heads import HEADS, Exporter, Signer, Unsigned
from gateway.audit.retention import DROPPED, Retention, dropped, start
from gateway.audit.segments import read, segments
from gateway.audit.slots import take
from gateway.audit.verify import verify
from gateway.audit.writer import Writer, open_writer

DAY = 86_400.0
SIGNER = Signer(b"k" * 32)


@pytest.fixture
def clock() -> list[float]:
    return [1_790_000_000.0]


@pytest.fixture
def log(root: Path, clock: list[float]) -> Path:
    """Ten days of records; returns the writer's directory."""
    writer = Writer(take(root, "w"), clock=lambda: clock[0])
    exporter = Exporter(root, SIGNER, clock=lambda: clock[0])
    for _ in range(10):
        clock[0] += DAY
        writer.append(b'{"t":"accepted","id":"a"}', b'{"t":"finished","id":"a"}')
        writer.sync()
        exporter.step()
    writer.close()
    return writer.slot.directory


def test_whole_files_go_and_the_rest_verifies(log: Path, root: Path, clock: list[float]) -> None:
    """With a signed head of what is gone, and an entry that says so."""
    (log / f"{1:016d}-77.torn").write_bytes(b"x")
    control = open_writer(root, "control")
    retention = Retention(root, 5, SIGNER, control, clock=lambda: clock[0])
    [one] = retention.step()
    retention.record(one)
    control.close()
    assert one.segments == 4
    assert not list(log.glob("*.torn"))
    assert dropped(log, SIGNER) == one.head
    assert next(read(log, start(log, SIGNER))).cursor.seq == one.head.seq + 1 == segments(log)[0]
    assert retention.step() == []
    report = verify(root, SIGNER, (root / HEADS,))
    assert report.faults == []
    assert report.writers[log.name].first == one.head.seq + 1
    last = [decode(row.body) for row in read(control.slot.directory)][-1]
    assert isinstance(last, Admin) and (last.action, last.target) == ("audit.drop", log.name)
    assert len(list((root / HEADS).glob("*.jsonl"))) == 7


def test_the_newest_file_stays_however_old(log: Path, root: Path, clock: list[float]) -> None:
    """The chain goes on from there."""
    clock[0] += 1000 * DAY
    control = open_writer(root, "control")
    Retention(root, 5, SIGNER, control, clock=lambda: clock[0]).step()
    control.close()
    assert len(segments(log)) == 1
    assert len(list((root / HEADS).glob("*.jsonl"))) == 1  # the next line names it: signing never begins anew


def test_nobody_without_the_key_can_say_that_something_was_dropped(log: Path, root: Path) -> None:
    """Removed files stay a fault."""
    (log / DROPPED).write_bytes(Signer(b"x" * 32).seal({"writer": log.name, "seq": 3, "hash": "00" * 32, "at": 0}))
    next(log.glob("*.seg")).unlink()
    with pytest.raises(Unsigned):
        dropped(log, SIGNER)
    assert "dropped" in {fault.kind for fault in verify(root, SIGNER, ()).faults}
