"""Reading what a writer writes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.chain import GENESIS, framed, frames
from gateway.audit.segments import Broken, Cursor, read, segment, segments, settled
from gateway.audit.writer import Writer

Opened = Callable[..., Writer]


def test_frames_end_at_the_first_bytes_that_are_none(tmp_path: Path) -> None:
    """Half a frame, zeros and impossible lengths are the end and no error."""
    whole, _ = framed(GENESIS, [b"one", b"two"])
    for rest in (b"", whole[:20], whole[:37], bytes(100), b"\xff" * 100, b"\x00\x20\x00\x00" + b"x" * 40):
        (tmp_path / "f").write_bytes(whole + rest)
        assert [body for _, _, body in frames(tmp_path / "f")] == [b"one", b"two"]


def test_reading_goes_on_from_any_cursor_over_files_and_a_growing_tail(opened: Opened) -> None:
    """Each record comes once, in order, wherever reading stopped."""
    writer = opened(segment_bytes=2000)
    cursor, seen = Cursor(), []
    for i in range(200):
        writer.append(b"%03d" % i + b"x" * 100)
        if i % 7 == 0:
            for row in read(writer.slot.directory, cursor):
                seen.append(row.body)
                cursor = row.cursor
    seen += [row.body for row in read(writer.slot.directory, cursor)]
    assert [int(body[:3]) for body in seen if body[-1:] == b"x"] == list(range(200))
    assert len(segments(writer.slot.directory)) > 5
    rows = list(read(writer.slot.directory))
    assert [row.cursor.seq for row in rows] == list(range(1, len(rows) + 1))
    assert [r.body for r in read(writer.slot.directory, rows[50].cursor)] == [r.body for r in rows[51:]]


def test_a_hole_is_named_and_can_be_passed(opened: Opened) -> None:
    """The indexer goes on behind it."""
    writer = opened(segment_bytes=2000)
    for _ in range(100):
        writer.append(b"x" * 100)
    directory = writer.slot.directory
    first, hole, behind = segments(directory)[:3]
    segment(directory, hole).unlink()
    with pytest.raises(Broken) as broken:
        list(read(directory))
    assert (broken.value.kind, broken.value.seq) == ("missing", hole)
    on = list(read(directory, Cursor(behind, 0, behind - 1, None)))
    assert (on[0].cursor.seq, on[-1].cursor.seq) == (behind, writer.head.seq)
    assert first == 1


def test_settled_is_what_is_safe(opened: Opened) -> None:
    """And nothing where half of it was written."""
    writer = opened()
    writer.append(b"x")
    writer.close()
    assert settled(writer.slot.directory) == writer.head
    (writer.slot.directory / "head").write_bytes(b"x" * 48)
    assert settled(writer.slot.directory) is None
