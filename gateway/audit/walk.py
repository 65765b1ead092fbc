"""One writer's records in their order, held against the signed heads."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.audit.heads import LATE_SECONDS, Signer, Unsigned
from gateway.audit.retention import dropped
from gateway.audit.segments import Broken, Cursor, Head, Row, read, segment, segments, settled

LISTED = 100
"""Ids of records without a partner that are named; all are counted."""
OPEN_AT_MOST = 100_000
"""Begun turns of one writer that are remembered; the oldest of more are counted as unfinished."""
REMEMBERED = 4096
"""Heads already compared that a second list of heads, read beside the first, may name again."""
LATE_MS = int(LATE_SECONDS * 1000)
DATED = frozenset({"finished", "judged", "admin", "segment", "torn"})
"""Records whose time is that of their writing; a turn's begin and measures may have waited before they were written."""
BEGINNINGS = frozenset({"segment", "torn"})
"""What a worker writes at its start, when the control process may be far from its own yet."""
WORDS = {
    "chain": "does not follow the record before it: it was changed, or records before it were removed or put in",
    "missing": "is missing: a segment, or the end of one, is gone",
}


class _Glance(msgspec.Struct):
    """What is looked at in a record."""

    t: str
    id: str = ""
    at: int = 0
    writer: str = ""
    bytes: int = 0


class Line(NamedTuple):
    """When a line of signed heads was written, and the one before it, Unix milliseconds."""

    at: int
    before: int | None
    """None: what was before it is not known, as behind what retention dropped."""


@dataclass(frozen=True)
class Fault:
    """Something is not as it was written; *seq*, *file* and *offset* are of the first bad record where one is known."""

    kind: str
    """``chain``, ``missing``, ``heads``, ``tail``, ``unsigned``, ``writer``, ``line``, ``copy``, ``dropped``."""
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
    late: int = 0
    """Records that were signed long after they were written: meanwhile nobody signed, or the lines were cut off."""
    late_first: int = 0
    """The first of them."""
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


class Walk:
    """Goes once over one writer's records, and compares signed heads on the way; memory is bounded."""

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
        self._window = (0, 0)
        """Between which times, exclusive, a record must have been signed before."""
        self._oldest: _Dated | None = None
        self._ending = False
        self._waiting: list[_Dated] = []
        """First and newest dated record that no head speaks of."""

    def compare(self, head: Head, line: Line) -> None:
        """Go to a signed head of *line* and see whether it is that of the chain."""
        if line.before is not None:
            self._window = (line.before + LATE_MS, line.at - LATE_MS)
        self._advance_to(head.seq)
        self._window = (0, 0)
        if self.fault is not None:
            return
        self._check_begin(line)
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
            self.fault = replace(place, kind="heads", text=text)
        elif head.seq > self._agreed:
            self._agreed, self._suspect = head.seq, None
            self._compared[head.seq] = known
            if len(self._compared) > REMEMBERED:
                del self._compared[next(iter(self._compared))]

    def finish(self, newest: int | None, now: int) -> None:
        """Read what no head speaks of yet; *newest* is the time of the last line, Unix ms, *now* that of the reader."""
        self._ending = True
        while self._advance():
            pass
        self.found.unfinished += len(self._open)
        self.found.unfinished_ids = [*self.found.unfinished_ids, *self._open][:LISTED]
        if self.fault is None and newest is not None:
            self.fault = self._unsigned(newest, now)
        if self.fault is None and self._cursor.file:
            size = segment(self.directory, self._cursor.file).stat().st_size
            self.found.tail_bytes = max(0, size - self._cursor.offset)

    def _unsigned(self, newest: int, now: int) -> Fault | None:
        """Return what is wrong with the records that no head speaks of: each second somebody signs.

        What a killed process left is a second younger than the last line, at most, and may stay unsigned for long.
        """
        if not self._waiting:
            return None
        first, last = self._waiting[0], self._waiting[-1]
        if last.at > newest + LATE_MS and now > last.at + LATE_MS:
            seconds = (last.at - newest) // 1000
            text = (
                f"records up to {last.row.cursor.seq}, {seconds} s younger than the last line of signed heads, are in "
                "none: the lines behind that one were cut off, or the control process does not sign"
            )
            return self._dated("unsigned", text, first)
        if first.at >= newest - LATE_MS:
            return None
        if not self.found.signed:
            return self._dated("writer", "was never signed, though it has records from before the last line", first)
        head = settled(self.directory)
        if last.at > first.at + LATE_MS or (head is not None and head.seq >= first.row.cursor.seq):
            text = f"record {first.row.cursor.seq} is older than the last line of signed heads, and is in none"
            return self._dated("unsigned", text, first)
        return None

    def _check_begin(self, line: Line) -> None:
        """See, where a writer is signed for the first time, that it was not there before."""
        oldest = self._oldest
        if self.found.signed or line.before is None or oldest is None or oldest.at >= line.before - LATE_MS:
            return
        text = (
            f"has a record {(line.before - oldest.at) // 1000} s older than the line of heads before the first that "
            "names it: it was put in later, or earlier lines were removed"
        )
        self.fault = self._dated("writer", text, oldest)

    def _advance_to(self, seq: int) -> None:
        while self._cursor.seq < seq and self._advance():
            pass

    def _advance(self) -> bool:
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

    def _take(self, row: Row) -> None:
        found = self.found
        try:
            glance = _glance(row.body)
        except msgspec.DecodeError:
            self.fault = self._place("chain", row.cursor.seq, row.cursor.file, row.offset, "is no record")
            return
        if (row.offset == 0) != (glance.t == "segment") or (row.offset == 0 and glance.writer != self.directory.name):
            text = f"belongs to the writer {glance.writer}" if glance.writer else "is not what a segment begins with"
            self.fault = self._place("chain", row.cursor.seq, row.cursor.file, row.offset, text)
            return
        if self._suspect is None:
            self._suspect = self._place("", row.cursor.seq, row.cursor.file, row.offset, "", glance.id)
        self._cursor = row.cursor
        found.first = found.first or row.cursor.seq
        found.last = row.cursor.seq
        found.records += 1
        if glance.t in DATED:
            self._date(glance, row)
        if glance.t == "accepted":
            self._begun(glance.id)
        elif glance.t == "finished":
            self._ended(glance.id)
        elif glance.t == "torn":
            found.torn += 1
            found.torn_bytes += glance.bytes

    def _date(self, glance: _Glance, row: Row) -> None:
        """Note when a record was written."""
        at = glance.at
        if self._window[0] < at < self._window[1]:
            self.found.late += 1
            self.found.late_first = self.found.late_first or row.cursor.seq
        if glance.t not in BEGINNINGS and (self._oldest is None or at < self._oldest.at):
            self._oldest = _Dated(at, row, glance.id)
        if self._ending and (not self._waiting or at > self._waiting[-1].at):
            self._waiting[1:] = [_Dated(at, row, glance.id)]

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

    def _dated(self, kind: str, text: str, found: "_Dated") -> Fault:
        return self._place(kind, found.row.cursor.seq, found.row.cursor.file, found.row.offset, text, found.id)


class _Dated(NamedTuple):
    """A record whose time is known, Unix milliseconds."""

    at: int
    row: Row
    id: str


_glance = msgspec.json.Decoder(_Glance).decode
