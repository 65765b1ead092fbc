"""Checks the whole log: each writer's chain, and the signed heads against it. Streams: memory does not grow with it."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit.heads import Signer, Unsigned, lines, signed_heads, writers
from gateway.audit.retention import dropped
from gateway.audit.segments import Broken, Cursor, Head, Row, read, segment, segments, settled

UNSIGNED_SECONDS = 60.0
"""Within which a gateway that runs has signed its first heads."""
LISTED = 100
"""Ids of records without a partner that are named; all are counted."""
OPEN_AT_MOST = 100_000
"""Begun turns of one writer that are remembered; the oldest of more are counted as unfinished."""
REMEMBERED = 4096
"""Heads already compared that a second list of heads, read beside the first, may name again."""
WORDS = {
    "chain": "does not follow the record before it: it was changed, or records before it were removed or put in",
    "missing": "is missing: a segment, or the end of one, is gone",
}


class _Glance(msgspec.Struct):
    """What is looked at in a record."""

    t: str
    id: str = ""
    writer: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Fault:
    """Something is not as it was written; *seq*, *file* and *offset* are of the first bad record where one is known."""

    kind: str
    """``chain``, ``missing``, ``heads``, ``tail``, ``writer``, ``line``, ``dropped``."""
    text: str
    writer: str = ""
    seq: int = 0
    file: str = ""
    offset: int = 0
    id: str = ""


@dataclass
class Checked:
    """One writer as it was found."""

    records: int = 0
    first: int = 0
    last: int = 0
    signed: int = 0
    """Last record that a signed head speaks of; a cut behind it does not show."""
    torn: int = 0
    """Times that a killed writer left half a record, by its successor's own account."""
    torn_bytes: int = 0
    tail_bytes: int = 0
    """Behind the last whole record: being written, or left by a killed writer whose slot is not taken again yet."""
    unfinished: int = 0
    """Turns without their end: running, or killed."""
    unbegun: int = 0
    """Ends without a begin: that was dropped by retention, perhaps."""
    unfinished_ids: list[str] = field(default_factory=list)
    unbegun_ids: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What `verify` found."""

    writers: dict[str, Checked] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    head_lines: int = 0
    signatures: bool = False
    """Whether they were checked: there is a key."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.faults

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"ok": self.ok, **asdict(self)}


class _Walk:
    """Goes once over one writer's records, and compares signed heads on the way."""

    def __init__(self, directory: Path, signing: Signer | None) -> None:
        self.directory = directory
        self.found = Checked()
        self.fault: Fault | None = None
        self._signer = signing
        self._cursor = Cursor()
        self._rows: Iterator[Row] = iter(())
        self._open: dict[str, None] = {}
        self._agreed = 0
        self._suspect: Fault | None = None
        """The first record behind the last head that agreed: where a difference may begin."""
        self._compared: dict[int, bytes] = {}

    def advance(self) -> bool:
        """Read the next record; False at the end, and behind the first bad one."""
        if self.fault is not None:
            return False
        fresh = False
        while True:
            try:
                for row in self._rows:
                    self._take(row)
                    return self.fault is None
            except Broken as broken:
                if not self._behind_what_was_dropped():
                    self.fault = self._broken(broken)
                    return False
                fresh = False
            if fresh:
                return False
            self._rows = read(self.directory, self._cursor)  # the file may have grown since the rows ended
            fresh = True

    def compare(self, head: Head) -> None:
        """Go to a signed head and see whether it is that of the chain."""
        while self._cursor.seq < head.seq and self.advance():
            pass
        if self.fault is not None:
            return
        self.found.signed = max(self.found.signed, head.seq)
        seq = self._cursor.seq
        if seq < head.seq:
            text = f"the log ends at record {seq}, but record {head.seq} was signed: its end was cut off"
            self.fault = self._place("tail", seq + 1, self._cursor.file, self._cursor.offset, text)
            return
        known = self._cursor.hash if seq == head.seq else self._compared.get(head.seq)
        if known is None:  # before what is left, or named long ago by the other list
            return
        if known != head.hash:
            text = f"record {head.seq} is another than was signed; all was well up to record {self._agreed}"
            place = self._suspect or self._place("", head.seq, self._cursor.file, self._cursor.offset, "")
            self.fault = Fault("heads", text, place.writer, place.seq, place.file, place.offset, place.id)
        elif head.seq > self._agreed:
            self._agreed, self._suspect = head.seq, None
            self._compared[head.seq] = known
            if len(self._compared) > REMEMBERED:
                del self._compared[next(iter(self._compared))]

    def finish(self) -> None:
        """Read what no head speaks of yet."""
        while self.advance():
            pass
        self.found.unfinished += len(self._open)
        self.found.unfinished_ids = [*self.found.unfinished_ids, *self._open][:LISTED]
        if self.fault is None and self._cursor.file:
            size = segment(self.directory, self._cursor.file).stat().st_size
            self.found.tail_bytes = max(0, size - self._cursor.offset)

    def _take(self, row: Row) -> None:
        found = self.found
        try:
            glance = _glance(row.body)
        except msgspec.DecodeError:
            self.fault = self._place("chain", row.cursor.seq, row.cursor.file, row.offset, "is no record")
            return
        if glance.t == "segment" and glance.writer != self.directory.name:
            text = f"belongs to the writer {glance.writer}"
            self.fault = self._place("chain", row.cursor.seq, row.cursor.file, row.offset, text)
            return
        if self._suspect is None:
            self._suspect = self._place("", row.cursor.seq, row.cursor.file, row.offset, "", glance.id)
        self._cursor = row.cursor
        found.first = found.first or row.cursor.seq
        found.last = row.cursor.seq
        found.records += 1
        if glance.t == "accepted":
            self._begun(glance.id)
        elif glance.t == "finished":
            self._ended(glance.id)
        elif glance.t == "torn":
            found.torn += 1
            found.torn_bytes += glance.bytes

    def _begun(self, name: str) -> None:
        self._open[name] = None
        if len(self._open) > OPEN_AT_MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            self.found.unfinished += 1
            if len(self.found.unfinished_ids) < LISTED:
                self.found.unfinished_ids.append(oldest)

    def _ended(self, name: str) -> None:
        if name in self._open:
            del self._open[name]
            return
        self.found.unbegun += 1
        if len(self.found.unbegun_ids) < LISTED:
            self.found.unbegun_ids.append(name)

    def _behind_what_was_dropped(self) -> bool:
        """Go on behind what retention dropped, perhaps while we read; return whether that explains the hole."""
        try:
            head = dropped(self.directory, self._signer)
        except (Unsigned, msgspec.DecodeError, KeyError, ValueError):
            return False  # `verify` has said so
        firsts = segments(self.directory)
        if head is None or head.seq <= self._cursor.seq or head.seq + 1 not in firsts:
            return False
        self._cursor = Cursor(head.seq + 1, 0, head.seq, head.hash)
        self._suspect = None
        return True

    def _broken(self, broken: Broken) -> Fault:
        text = f"record {broken.seq} {WORDS[broken.kind]}"
        name = ""
        with suppress(msgspec.DecodeError):  # it may be no JSON any more
            name = _glance(broken.body).id
        return self._place(broken.kind, broken.seq, broken.file, broken.offset, text, name)

    def _place(  # noqa: PLR0913, PLR0917 - the fields of a fault
        self, kind: str, seq: int, file: int, offset: int, text: str, name: str = ""
    ) -> Fault:
        return Fault(kind, text, self.directory.name, seq, segment(self.directory, file).name, offset, name)


_glance = msgspec.json.Decoder(_Glance).decode


def _is_older(root: Path, seconds: float) -> bool:
    """Return whether there are records under *root* that must have been signed for since."""
    made = [segment(path, first).stat().st_mtime for path in writers(root) for first in segments(path)[:1]]
    return any(time.time() - moment > seconds for moment in made) and any(settled(path) for path in writers(root))


def verify(root: Path, signing: Signer | None, heads: tuple[Path, ...]) -> Report:
    """Check all writers under *root* against the signed lines in the directories *heads*: the log's own, and copies.

    Safe beside a gateway that writes, and beside retention. Blocks for about 5 µs a record. Raises `OSError`.
    """
    report = Report(signatures=signing is not None)
    walks = {path.name: _Walk(path, signing) for path in writers(root)}
    for walk in walks.values():
        _check_dropped(walk, signing, report)
    if signing is None and any(next(lines(directory), None) for directory in heads):
        report.faults.append(Fault("line", "there is no key: no signature can be checked"))
    absent: set[str] = set()
    streams = [_opened(directory, signing, report) for directory in heads]
    for document in merge(*streams, key=lambda one: one["at"]):
        for name, head in signed_heads(document).items():
            if name in walks:
                walks[name].compare(head)
            elif name not in absent:
                absent.add(name)
                report.faults.append(Fault("writer", f"is gone: record {head.seq} of it was signed", name))
    if signing is not None and not report.head_lines and _is_older(root, UNSIGNED_SECONDS):
        report.faults.append(Fault("line", "there are records and not one signed head: they were removed"))
    for name, walk in walks.items():
        walk.finish()
        report.writers[name] = walk.found
        if walk.fault is not None:
            report.faults.append(walk.fault)
    return report


def _check_dropped(walk: _Walk, signing: Signer | None, report: Report) -> None:
    try:
        dropped(walk.directory, signing)
    except (Unsigned, msgspec.DecodeError, KeyError, ValueError) as error:
        text = f"the note of what retention dropped cannot be believed: {error}"
        report.faults.append(Fault("dropped", text, walk.directory.name))


def _opened(directory: Path, signing: Signer | None, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the signed documents of *directory*; report each line that is not as it was signed, one for each file."""
    previous: str | None = None
    blamed: Path | None = None
    for path, number, line in lines(directory):
        report.head_lines += 1
        try:
            document = signing.open(line) if signing is not None else msgspec.json.decode(line)
            signed_heads(document)  # without a key it is anybody's
        except (Unsigned, msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError) as error:
            why = f"cannot be believed: {error}"
            previous = None
        else:
            why = "" if previous in {None, document["previous"]} else "does not follow the line before it"
            previous = document["signature"]
            yield document
        if why and blamed != path:
            blamed = path
            report.faults.append(Fault("line", f"line {number} of the signed heads {why}", file=str(path), seq=number))
