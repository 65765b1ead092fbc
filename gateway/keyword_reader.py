"""Word lists are read by a process of their own: however large a file is, and whatever it is made of, nobody waits.

A file of 100 000 lines takes a processor seconds, some of its steps a tenth of one without a pause; and an archive that
was made to keep a reader busy ends with the process that reads it. What was read comes back through a file, in parts of
some milliseconds each.
"""

import gc
import io
import itertools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import IO, NamedTuple, Self

import msgspec

from gateway.parent import tie_as_told
from keywords import importers
from keywords.entry import Action, Entry, Match
from keywords.expression import MOST_EXPRESSIONS, Unusable, try_out
from keywords.importers import Given, Place, Rejected, key_of

PART = 125
"""Rows that come back in one go."""
SHOWN = 1_000
"""Rejected rows that are told by line."""
CPU_SECONDS = 900
"""Of a processor; 300 000 lines take some 15, and each regular expression a tenth."""
MEMORY_BYTES = 4 << 30
ANSWER_BYTES = 4 << 30
LENGTH_BYTES = 4
"""Of a frame's length, before it; a frame without any follows the last lines."""
PLACE_BYTES = 8
"""Of the place of the summary, at the end of all: what a file held is known when all of it was read."""


class Asked(msgspec.Struct, frozen=True):
    """What is read, and how; see `keywords.importers.Given`. *keep_actions* is why the file's own actions count."""

    name: str
    risk: str
    source: str = ""
    licence: str = ""
    added_by: str = ""
    keep_actions: str | None = None


class Line(NamedTuple):
    """An entry as it may be entered, with its *key*; where it stood, what was stated there, and what was asked for."""

    key: str
    entry: Entry
    line: int
    stated: tuple[str, ...]
    asked: Entry | None
    """None: the entry itself."""

    @property
    def place(self) -> Place:
        """Return the same as a `Place`."""
        return Place(self.line, frozenset(self.stated), self.asked or self.entry)


class Summary(msgspec.Struct, frozen=True):
    """What a file held beside its entries; *counts* as in `keywords.importers.Reading`, `rejected` among them."""

    counts: Mapping[str, int] = {}
    rejected: Sequence[Rejected] = ()
    """The first of them."""
    fault: str = ""
    """Why nothing of the file can be used; empty: it can."""
    blamed: str = ""
    """What is to blame for that: `name` or `body`."""


class Failed(Exception):
    """The process has ended without an answer; the words say why, as far as that is known."""


_LINES = msgspec.msgpack.Decoder(list[Line])
_SUMMARY = msgspec.msgpack.Decoder(Summary)


class Parts:
    """What was read of a file. Its methods read from the disk: call them in a thread."""

    def __init__(self, answer: IO[bytes]) -> None:
        self._answer = answer
        answer.seek(-PLACE_BYTES, io.SEEK_END)
        answer.seek(int.from_bytes(answer.read(PLACE_BYTES), "big"))
        self.summary = _SUMMARY.decode(self._frame())
        self.again()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._answer.close()

    def next(self) -> list[Line]:
        """Return the next lines; none: that was all."""
        frame = self._frame()
        return _LINES.decode(frame) if frame else []

    def again(self) -> None:
        """Begin with the first lines once more."""
        self._answer.seek(0)

    def _frame(self) -> bytes:
        size = int.from_bytes(self._answer.read(LENGTH_BYTES), "big")
        return self._answer.read(size)


def read(file: IO[bytes], asked: Asked) -> Parts:
    """Have *file* read from its beginning. Blocks until it is: call it in a thread. Raises `Failed`."""
    file.seek(0)
    command = [sys.executable, "-P", "-m", __name__, str(os.getpid()), msgspec.json.encode(asked).decode()]
    with ExitStack() as stack:
        answer = stack.enter_context(tempfile.TemporaryFile())
        try:
            done = subprocess.run(  # noqa: S603 - our own program; the file is its input
                command, stdin=file, stdout=answer, stderr=subprocess.PIPE, timeout=2 * CPU_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"took more than {2 * CPU_SECONDS} s to be read: split it") from None
        if done.returncode:
            raise Failed(_why(done.returncode, done.stderr))
        parts = Parts(answer)
        stack.pop_all()  # whoever has the parts closes it
        return parts


def _why(status: int, told: bytes) -> str:
    if b"MemoryError" in told:
        return f"takes more than {MEMORY_BYTES >> 30} GB of memory to be read: split it"
    if status < 0:
        return f"could not be read: its reader was ended by signal {-status} (a processor for {CPU_SECONDS} s at most)"
    return f"could not be read: {told.decode(errors='replace').strip().rpartition(chr(10))[2]}"


# In the process that reads


def answer(data: bytes, asked: Asked) -> Iterator[bytes]:
    """Yield the parts of what *data* holds, and then the summary, as `Parts` takes them."""
    given = Given(asked.name, asked.risk, asked.source, asked.licence, asked.added_by)
    size = 0
    try:
        reading = importers.Reading(data, given._replace(keep_actions=asked.keep_actions is not None))
        del data
        refused: list[Rejected] = []
        lines = _usable(reading, asked.keep_actions, refused)
        while part := list(itertools.islice(lines, PART)):
            frame = _framed(part)
            size += len(frame)
            yield frame
        rejected = sorted([*reading.rejected, *refused], key=lambda row: row.line)
        summary = Summary({**reading.counts, "rejected": len(rejected)}, rejected[:SHOWN])
    except importers.Unreadable as error:
        summary = Summary(fault=str(error), blamed="name" if isinstance(error, importers.UnknownEnding) else "body")
    yield bytes(LENGTH_BYTES)
    yield _framed(summary)
    yield (size + LENGTH_BYTES).to_bytes(PLACE_BYTES, "big")


def _framed(what: object) -> bytes:
    frame = msgspec.msgpack.encode(what)
    return len(frame).to_bytes(LENGTH_BYTES, "big") + frame


def _usable(reading: importers.Reading, keep_actions: str | None, refused: list[Rejected]) -> Iterator[Line]:
    """Yield the entries as they may be entered; expressions that may not are added to *refused*."""
    tried = itertools.count(1)
    for entry, place in reading:
        if entry.match is Match.REGEX and (reason := _refusal(entry.term, next(tried))):
            refused.append(Rejected(place.line, entry.term[: importers.SHOWN], f"term: {reason}"))
            continue
        entered = _as_entered(entry, keep_actions)
        asked = place.asked if place.asked != entered else None
        yield Line(key_of(entered), entered, place.line, tuple(place.stated), asked)


def _refusal(pattern: str, number: int) -> str:
    """Return why an expression, the file's so many-th, cannot be used; empty: it can."""
    if number > MOST_EXPRESSIONS:
        return f"a version has at most {MOST_EXPRESSIONS} regular expressions"
    try:
        try_out(pattern)
    except Unusable as error:
        return f"`{pattern}`: {error}"
    return ""


def _as_entered(entry: Entry, keep_actions: str | None) -> Entry:
    if keep_actions is None:  # what a stranger's file claims was measured on a stranger's texts
        return entry.unmeasured()
    if entry.action in {Action.BLOCK, Action.JUDGE}:
        return replace(entry, note=f"{entry.note}\nforced: {keep_actions}".strip())
    return entry


def main() -> None:
    """Read the file that the standard input is; write what it holds to the standard output."""
    tie_as_told(sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_BYTES, ANSWER_BYTES))
    gc.disable()  # nothing here is a cycle, and the process is short
    asked = msgspec.json.decode(sys.argv[2], type=Asked)
    with suppress(BrokenPipeError):
        sys.stdout.buffer.writelines(answer(sys.stdin.buffer.read(), asked))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
