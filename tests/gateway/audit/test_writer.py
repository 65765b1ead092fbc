"""What was appended is there, whatever happens next; what cannot be appended is said."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit import settling
from gateway.audit.entries import Torn, decode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.heads import HEADS
from gateway.audit.segments import read, segment, segments, settled
from gateway.audit.slots import node, take
from gateway.audit.verify import verify
from gateway.audit.writer import Writer, day_end, open_writer
from tests.timing import cpu_seconds

Opened = Callable[..., Writer]
LOOP = """
import pathlib, sys
from gateway.audit.writer import open_writer
writer = open_writer(pathlib.Path(sys.argv[1]), "w", segment_bytes=20_000)
for i in range(10**9):
    sys.stdout.write(f"{writer.append(b'%d' % i + b'x' * 300)} {i}\\n")
    sys.stdout.flush()
"""


def bodies(writer: Writer | Path) -> list[bytes]:
    directory = writer if isinstance(writer, Path) else writer.slot.directory
    return [row.body for row in read(directory)]


def until(told: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_takes_the_first_free_slot_and_goes_on_with_its_chain(opened: Opened, root: Path) -> None:
    """One chain a slot, not one a process."""
    one, two, other = opened(), opened(), opened("control")
    assert [w.slot.name for w in (one, two, other)] == [f"{node(root)}-{k}" for k in ("w0", "w1", "control0")]
    last = one.append(b"a", b"b")
    one.close()
    again = opened()
    assert (again.slot.name, again.append(b"c")) == (one.slot.name, last + 1)
    assert bodies(again)[-3:] == [b"a", b"b", b"c"]


def test_each_day_of_shanghai_has_its_file(root: Path) -> None:
    """So that whole files can be dropped."""
    now = [1_790_000_000.0]
    writer = Writer(take(root, "w"), clock=lambda: now[0])
    writer.append(b"today")
    now[0] = day_end(now[0]) - 0.001
    writer.append(b"still today")
    now[0] += 0.002
    first = writer.append(b"tomorrow") - 1
    assert segments(writer.slot.directory) == [1, first]
    writer.close()
    assert (day_end(0) + 8 * 3600) % 86400 == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4), st.integers(0, 200)),
        min_size=1,
        max_size=8,
    )
)
def test_what_append_returned_for_is_there_after_any_crash(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[list[bytes], int]]
) -> None:
    """A crash in the middle of the next append leaves any number of its bytes."""
    root = tmp_path_factory.mktemp("audit")
    kept: list[bytes] = []
    for group, bytes_left in steps:
        writer = open_writer(root, "w", segment_bytes=600)
        writer.append(*group)
        kept += group
        writer.close()
        last = segment(writer.slot.directory, segments(writer.slot.directory)[-1])
        with last.open("ab") as file:  # of a frame that would be longer
            file.write((b"\x00\x00\x40\x00" + os.urandom(300))[:bytes_left])
    writer = open_writer(root, "w")
    writer.close()
    rows = bodies(writer)
    assert [body for body in rows if body in kept and not body.startswith(b'{"')] == [
        b for b in kept if not b.startswith(b'{"')
    ]
    torn = [decode(body) for body in rows if body.startswith(b'{"t":"torn"')]
    assert sorted(t.bytes for t in torn if isinstance(t, Torn)) == sorted(n for _, n in steps if n)


def test_kill_9_loses_nothing_that_was_told(root: Path) -> None:
    """Ten times, in one chain."""
    told: dict[int, int] = {}
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", LOOP, root], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        told |= {int(a): int(b) for a, b in (line.split() for line in lines if line.endswith("\n"))}
    found = {row.cursor.seq: row.body for row in read(root / f"{node(root)}-w0")}
    assert len(told) > 100
    assert {seq: b"%d" % i + b"x" * 300 for seq, i in told.items()}.items() <= found.items()
    assert [path.name for path in root.glob("*-*")] == [f"{node(root)}-w0"]


def test_a_changed_record_in_the_last_file_is_kept_as_evidence(opened: Opened) -> None:
    """What follows it is cut off, and stands beside."""
    writer = opened()
    for i in range(9):
        writer.append(b"record %d" % i)
    writer.close()
    path = segment(writer.slot.directory, 1)
    path.write_bytes(path.read_bytes().replace(b"record 4", b"rec0rd 4"))
    again = opened()
    assert [b for b in bodies(again) if b[:3] == b"rec"] == [b"record %d" % i for i in range(4)]
    assert [b"record 8" in p.read_bytes() for p in writer.slot.directory.glob("*.torn")] == [True]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """A real one; the log stays whole, and is written again as soon as there is room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        writer = open_writer(tmp_path / "audit", "w")
        told = 0
        with pytest.raises(AuditUnavailable):
            for _ in range(1000):
                told = writer.append(b'{"t":"x%s"}' % (b"x" * 3000))
        with pytest.raises(AuditUnavailable):
            writer.append(b"y")
        assert [row.cursor.seq for row in read(writer.slot.directory)][-1] == told
        time.sleep(1.3)
        assert writer.trouble is not None  # not even room for the probe
        subprocess.run(["mount", "-o", "remount,size=4m", tmp_path], check=True)
        until(lambda: writer.trouble is None)
        assert writer.append(b'{"t":"z"}') == told + 1
        writer.close()
        assert bodies(writer)[-1] == b'{"t":"z"}'
        assert verify(tmp_path / "audit", None, ()).ok
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_file_size_limit_refuses_whole_records(root: Path) -> None:
    """A short write is cut back."""
    code = LOOP.replace("segment_bytes=20_000", "segment_bytes=10**9").replace("x' * 300", "x' * 3000")
    done = subprocess.run(
        [sys.executable, "-c", code, root],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert "AuditUnavailable" in done.stderr
    rows = list(read(root / f"{node(root)}-w0"))
    assert rows[-1].cursor.seq == int(done.stdout.split("\n")[-2].split()[0])
    assert segment(root / f"{node(root)}-w0", 1).stat().st_size == rows[-1].cursor.offset


def test_a_directory_that_is_removed_refuses_then_goes_on_with_a_hole(opened: Opened, root: Path) -> None:
    """What went to files that nobody finds is no record."""
    writer = opened()
    last = writer.append(b"x")
    shutil.rmtree(writer.slot.directory)
    until(lambda: writer.trouble is not None)
    with pytest.raises(AuditUnavailable):
        writer.append(b"y")
    until(lambda: writer.trouble is None)
    assert writer.append(b"z") == last + 2
    assert [fault.kind for fault in verify(root, None, (root / HEADS,)).faults] == ["missing"]


async def test_power_waits_for_the_sync_in_groups(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody who comes while one sync runs is in the next."""
    calls: list[float] = []
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        calls.append(time.monotonic())
        time.sleep(0.05)
        real(descriptor)

    writer = open_writer(root, "w", power=True)
    monkeypatch.setattr(os, "fdatasync", slow)
    before = len(calls)

    async def one(i: int) -> None:
        await asyncio.sleep(i / 1000)
        seq = writer.append(b"x")
        await writer.durable(seq)
        head = settled(writer.slot.directory)
        assert head is not None and head.seq >= seq

    await asyncio.gather(*(one(i) for i in range(100)))
    assert len(calls) - before <= 6
    monkeypatch.undo()
    await asyncio.to_thread(writer.close)


async def test_a_failed_sync_is_never_made_good(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits is refused, also later; a new file is begun."""
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.2)
    writer = open_writer(root, "w", power=True)
    await writer.durable(writer.append(b'{"t":"x"}'))

    def fails(descriptor: int) -> None:
        raise OSError(5, f"Input/output error on {descriptor}")

    monkeypatch.setattr(os, "fdatasync", fails)
    doubtful = writer.append(b'{"t":"y"}')
    with pytest.raises(AuditUnavailable):
        await writer.durable(doubtful)
    with pytest.raises(AuditUnavailable):
        writer.append(b"refused")
    monkeypatch.undo()
    await asyncio.to_thread(until, lambda: writer.trouble is None)
    await writer.durable(writer.append(b'{"t":"z"}'))
    with pytest.raises(AuditUnavailable):
        await writer.durable(doubtful)
    assert len(segments(writer.slot.directory)) > 1
    assert writer.failures >= 1
    await asyncio.to_thread(writer.close)
    assert verify(root, None, ()).ok


def test_process_syncs_by_itself(opened: Opened) -> None:
    """Within a moment nothing is behind."""
    writer = opened()
    seq = writer.append(b"x")
    until(lambda: writer.settler.settled >= seq)
    until(lambda: writer.lag_seconds == 0.0)


@pytest.mark.usefixtures("untraced")
def test_a_turn_costs_little(opened: Opened) -> None:
    """Two records of 600 bytes; the bound leaves room for a slow machine."""
    writer = opened()
    body = os.urandom(600)

    def turns() -> None:
        for _ in range(5000):
            writer.append(body)
            writer.append(body)

    bound = 5000 * 60e-6
    assert cpu_seconds(turns, bound, time.thread_time) < bound
