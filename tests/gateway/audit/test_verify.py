"""Whoever changes the log is found, and nobody is accused who did not."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.chain import GENESIS, HEADER, framed, frames
from gateway.audit.heads import HEADS, Exporter, Signer
from gateway.audit.segments import HEAD, Head, segment, segments, settled, write_head
from gateway.audit.slots import node, take
from gateway.audit.verify import Fault, Report, verify
from gateway.audit.writer import Writer, open_writer

Opened = Callable[..., Writer]
SIGNER = Signer(b"k" * 32)
RECORDS = 301
WRITTEN = [0]
"""When all records of a test are written, Unix milliseconds."""


def record(i: int) -> bytes:
    kind = "accepted" if i % 2 == 0 else "finished"
    return b'{"at":%d,"id":"turn%04d","t":"%s"}' % (WRITTEN[0], i // 2, kind.encode())


@pytest.fixture(autouse=True)
def _written() -> None:
    WRITTEN[0] = time.time_ns() // 1_000_000


@pytest.fixture
def log(root: Path) -> Path:
    """A log of several segments, signed at each tenth record and in the end; returns the writer's directory."""
    writer = open_writer(root, "w", segment_bytes=8000)
    exporter = Exporter(root, SIGNER)
    for i in range(RECORDS):
        writer.append(record(i))
        if i % 10 == 0:
            writer.sync()
            time.sleep(0.002)  # lines are a second apart, and told apart by their milliseconds
            exporter.step()
    writer.close()
    return writer.slot.directory


def checked(root: Path) -> Report:
    return verify(root, SIGNER, (root / HEADS,))


def only(root: Path) -> Fault:
    """The one fault."""
    [fault] = checked(root).faults
    return fault


def holding(directory: Path, body: bytes) -> tuple[Path, int, int]:
    """Return segment, begin of the frame and number of a record."""
    for first in segments(directory):
        path, offset = segment(directory, first), 0
        for seq, (end, _, found) in enumerate(frames(path), first):
            if found == body:
                return path, offset, seq
            offset = end
    raise AssertionError(body)


def recompute(directory: Path, change: Callable[[bytes], bytes]) -> None:
    """What somebody does who knows the format, but has no key."""
    before = GENESIS
    for first in segments(directory):
        path = segment(directory, first)
        data, before = framed(before, [change(body) for _, _, body in frames(path)])
        path.write_bytes(data)
    settles = settled(directory)
    assert settles is not None
    with (directory / HEAD).open("r+b") as file:
        write_head(file.fileno(), Head(settles.seq, before))


def test_a_log_that_nobody_touched_is_well(log: Path, root: Path) -> None:
    """And is counted."""
    report = checked(root)
    found = report.writers[log.name]
    assert (report.ok, found.records, found.last, found.signed) == (
        True,
        RECORDS + len(segments(log)),
        found.last,
        found.last,
    )
    assert (found.unfinished, found.unfinished_ids, found.unbegun) == (1, ["turn0150"], 0)


def test_a_changed_record_is_named(log: Path, root: Path) -> None:
    """By file, number, place and id."""
    path, offset, seq = holding(log, record(100))
    path.write_bytes(path.read_bytes().replace(record(100), record(100).replace(b'"at":1', b'"at":2')))
    assert only(root) == Fault("chain", only(root).text, log.name, seq, path.name, offset, "turn0050")


def test_a_removed_record_is_named(log: Path, root: Path) -> None:
    """At the place where it was."""
    path, offset, seq = holding(log, record(100))
    data = path.read_bytes()
    size = HEADER.size + len(record(100))
    path.write_bytes(data[:offset] + data[offset + size :])
    assert (only(root).kind, only(root).seq, only(root).offset) == ("chain", seq, offset)


def test_recomputed_hashes_are_exposed_by_the_signed_heads(log: Path, root: Path) -> None:
    """The first record that may be another is named: behind the last head that agrees."""
    _, _, seq = holding(log, record(105))
    recompute(log, lambda body: body.replace(b'"at":1', b'"at":2') if body == record(105) else body)
    fault = only(root)
    assert fault.kind == "heads"
    assert seq - 11 <= fault.seq <= seq
    assert verify(root, None, ()).ok  # without the heads nothing shows


@pytest.mark.parametrize("whole", [True, False])
def test_a_cut_tail_is_named(log: Path, root: Path, whole: bool) -> None:
    """Cut between records or within one."""
    path, offset, seq = holding(log, record(RECORDS - 3))
    with path.open("r+b") as file:
        file.truncate(offset + (0 if whole else 7))
    assert (only(root).kind, only(root).seq, only(root).offset) == ("tail", seq, offset)


def test_a_cut_end_of_a_file_in_the_middle_is_named(log: Path, root: Path) -> None:
    """The next one's number shows it."""
    first, following = segments(log)[1:3]
    path = segment(log, first)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    assert (only(root).kind, only(root).seq, only(root).file) == ("missing", following - 1, path.name)


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_removed_file_is_named(log: Path, root: Path, which: int) -> None:
    """The first, one in the middle, the last."""
    first = segments(log)[which]
    segment(log, first).unlink()
    assert (only(root).kind, only(root).seq) == ("tail" if which == -1 else "missing", first)


def test_a_removed_writer_is_named(log: Path, root: Path) -> None:
    """Its heads stay."""
    shutil.rmtree(log)
    assert (only(root).kind, only(root).writer) == ("writer", log.name)


@pytest.mark.usefixtures("log")
def test_a_removed_name_is_named(root: Path) -> None:
    (root / "node").rename(root.parent / "kept")
    assert (only(root).kind, only(root).file) == ("writer", str(root / "node"))
    (root.parent / "kept").rename(root / "node")
    assert checked(root).ok


def test_a_writer_in_the_place_of_another_is_named(log: Path, root: Path) -> None:
    """Each says whose it is."""
    shutil.copytree(log, root / f"{node(root)}-w1")
    assert (only(root).kind, only(root).seq, only(root).writer) == ("chain", 1, f"{node(root)}-w1")


@pytest.mark.usefixtures("log")
def test_changed_and_removed_lines_of_heads_are_named(root: Path) -> None:
    """Each line names the one before."""
    path = next((root / HEADS).glob("*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))
    assert (only(root).kind, only(root).seq) == ("line", 5)
    path.write_bytes(b"".join([*lines[:4], lines[4].replace(b'"at":1', b'"at":2'), *lines[5:]]))
    assert (only(root).kind, only(root).seq) == ("line", 5)


def test_a_copy_shows_what_was_cut_here(log: Path, root: Path, tmp_path: Path) -> None:
    """With the heads cut as well."""
    shutil.copytree(root / HEADS, tmp_path / "copy")
    path, offset, _ = holding(log, record(RECORDS - 2))
    with path.open("r+b") as file:
        file.truncate(offset)
    own = next((root / HEADS).glob("*.jsonl"))
    own.write_bytes(b"".join(own.read_bytes().splitlines(keepends=True)[:-1]))
    assert checked(root).ok
    assert [one.kind for one in verify(root, SIGNER, (root / HEADS, tmp_path / "copy")).faults] == ["copy", "tail"]


@pytest.mark.usefixtures("log")
def test_without_the_key_lines_are_no_proof(root: Path) -> None:
    """Which is said."""
    assert [one.kind for one in verify(root, None, (root / HEADS,)).faults] == ["line"]


def test_a_torn_tail_is_reported_and_no_fault(log: Path, root: Path) -> None:
    """Before its slot is taken again, and after."""
    with segment(log, segments(log)[-1]).open("ab") as file:
        file.write(bytes([0, 0, 1, 0]) + b"half")
    report = checked(root)
    assert (report.ok, report.writers[log.name].tail_bytes) == (True, 8)
    open_writer(root, "w").close()
    report = checked(root)
    found = report.writers[log.name]
    assert (report.ok, found.torn, found.torn_bytes, found.tail_bytes) == (True, 1, 8, 0)


def test_a_log_that_grows_is_well_all_the_while(root: Path) -> None:
    """No false alarm beside a writer and an exporter."""
    writer = open_writer(root, "w", segment_bytes=50_000)
    exporter, end = Exporter(root, SIGNER), threading.Event()

    def write() -> None:
        while not end.is_set():
            for i in range(20):
                writer.append(record(i))
            time.sleep(0.0005)

    def sign() -> None:
        while not end.wait(0.01):
            exporter.step()

    threads = [threading.Thread(target=work) for work in (write, sign)]
    for thread in threads:
        thread.start()
    try:
        reports = [checked(root) for _ in range(15) if not time.sleep(0.05)]
    finally:
        end.set()
        for thread in threads:
            thread.join()
        writer.close()
    assert [fault for report in reports for fault in report.faults] == []
    assert reports[-1].head_lines > 10 and len(segments(writer.slot.directory)) > 2


def test_a_log_whose_heads_were_all_removed_is_found_out(log: Path, root: Path) -> None:
    """Records that are older than a minute, and not one signed head: a gateway signs each second."""
    shutil.rmtree(root / HEADS)
    assert checked(root).ok  # it may have begun just now
    first = segment(log, segments(log)[0])
    os.utime(first, (time.time() - 90, time.time() - 90))
    assert only(root).kind == "line"


BEGIN = 600
"""Seconds ago that `Past` begins."""


class Past:
    """Ten minutes of a writer and of signing, a turn's end each second; *signs* says in which of them somebody did."""

    def __init__(self, root: Path, signs: Callable[[int], bool] = lambda _: True) -> None:
        self.root, self.now = root, time.time() - BEGIN
        writer = Writer(take(root, "w"), segment_bytes=8000, clock=lambda: self.now)
        exporter = self.exporter()
        for second in range(BEGIN - 60):
            self.now += 1
            writer.append(self.finished(second))
            if signs(second):
                writer.sync()
                exporter.step()
        writer.close()
        self.directory = writer.slot.directory

    def exporter(self) -> Exporter:
        """Who signs at the time that it is."""
        return Exporter(self.root, SIGNER, clock=lambda: self.now)

    def finished(self, number: int) -> bytes:
        return b'{"at":%d,"id":"turn%d","t":"finished"}' % (int(self.now * 1000), number)

    def cut_heads(self, left: int) -> None:
        """Leave the first lines alone."""
        path, *others = sorted((self.root / HEADS).glob("*.jsonl"))
        for other in others:
            other.unlink()
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:left]))

    def forge(self, kind: str) -> Path:
        """Put a writer there whose chain is fine; return its directory."""
        begin = self.now
        self.now -= 300
        writer = Writer(take(self.root, kind), clock=lambda: self.now)
        writer.append(self.finished(1))
        writer.close()
        self.now = begin
        return writer.slot.directory


def kinds(root: Path) -> list[str]:
    return [fault.kind for fault in checked(root).faults]


def test_lines_that_were_cut_off_are_found_out(root: Path) -> None:
    """Records are minutes younger than the last line that is left: the chain was recomputed behind it."""
    past = Past(root)
    assert checked(root).ok
    past.cut_heads(1)
    recompute(past.directory, lambda body: body.replace(b"turn77", b"turn78"))
    fault = only(root)
    assert (fault.kind, fault.seq, fault.writer) == ("unsigned", 3, past.directory.name)
    assert fault.id == "turn1"


def test_what_was_signed_late_is_counted(root: Path) -> None:
    """A gateway that signs again behind lines that were cut off: only a copy of them tells what was done meanwhile."""
    past = Past(root)
    shutil.copytree(root / HEADS, root.parent / "copy")
    past.cut_heads(1)
    recompute(past.directory, lambda body: body.replace(b'"turn77"', b'"turn78"'))
    past.exporter().step()
    report = checked(root)
    found = report.writers[past.directory.name]
    assert (report.ok, found.late_first) == (True, 33) and found.late > 400
    copied = verify(root, SIGNER, (root / HEADS, root.parent / "copy"))
    assert [(fault.kind, fault.seq) for fault in copied.faults] == [("heads", 79)]


def test_nobody_is_accused_where_nobody_signed_for_a_while(root: Path) -> None:
    """The control process was away: what it signed late is counted, and no fault."""
    past = Past(root, lambda second: not 100 < second < 300)
    report = checked(root)
    assert (report.ok, 100 < report.writers[past.directory.name].late < 200) == (True, True)


def test_what_a_kill_left_unsigned_is_no_fault(root: Path) -> None:
    """Its slot may stay free for long; it is younger than the last line of then by a second."""
    past = Past(root)
    writer = Writer(take(root, "w"), clock=lambda: past.now)
    past.now += 0.4
    writer.append(past.finished(0))
    head = (past.directory / HEAD).read_bytes()
    writer.close()
    (past.directory / HEAD).write_bytes(head)  # it was killed before the sync
    assert checked(root).ok
    past.now += 100
    past.exporter().step()
    assert checked(root).ok


def test_without_lines_and_key_there_is_no_proof(root: Path) -> None:
    """A gateway makes both at its start; that they are gone is a fault, and so is a log that is gone."""
    Past(root)
    shutil.rmtree(root / HEADS)
    assert [fault.kind for fault in verify(root, None, (root / HEADS,)).faults] == ["line", "line"]
    for path in root.glob("*-*"):
        shutil.rmtree(path)
    assert kinds(root) == ["writer"]


def test_removed_lines_are_not_made_good_by_new_ones(root: Path) -> None:
    """The first line of all says when signing began, and there were turns before."""
    past = Past(root)
    shutil.rmtree(root / HEADS)
    past.exporter().step()
    assert (only(root).kind, only(root).id) == ("writer", "turn0")


def test_a_writer_that_somebody_put_there_is_not_signed_and_named(root: Path) -> None:
    """Its chain is fine, and older than the last line."""
    past = Past(root)
    forged = past.forge("cli")
    exporter = past.exporter()
    past.now += 11
    assert exporter.step()
    assert forged.name not in str(list((root / HEADS).glob("*"))[-1].read_bytes())
    assert (only(root).kind, only(root).writer) == ("writer", forged.name)


def test_a_writer_that_was_signed_later_than_it_was_written_is_named(root: Path) -> None:
    """By who had the key, or by a gateway whose clock its begin agrees with."""
    past = Past(root)
    forged = past.forge("cli")
    head = settled(forged)
    assert head is not None
    path = max((root / HEADS).glob("*.jsonl"))
    previous = SIGNER.open(path.read_bytes().splitlines()[-1])["signature"]
    heads = {forged.name: [head.seq, head.hash.hex()]}
    line = SIGNER.seal({"at": int(past.now * 1000) + 1, "heads": heads, "previous": previous})
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert (only(root).kind, only(root).writer, only(root).id) == ("writer", forged.name, "turn1")


@pytest.mark.parametrize("which", [1, -1])
def test_a_file_that_was_removed_before_a_restart_is_missing(log: Path, root: Path, which: int) -> None:
    """No number is used again: the hole stays where it was."""
    first = segments(log)[which]
    segment(log, first).unlink()
    writer = open_writer(root, "w")
    writer.append(record(0))
    writer.close()
    Exporter(root, SIGNER).step()
    assert (only(root).kind, only(root).seq) == ("missing", first)
