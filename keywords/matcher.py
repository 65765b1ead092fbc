"""Many literals at once in a text: the only file that knows the automaton libraries.

Measured side by side (docs/keywords.md): Vectorscan is three to ten times as fast as the others on Chinese, is built
without holding the interpreter's lock, and takes regular expressions of linear time as well. pyahocorasick stays for
machines that Vectorscan has no wheel for.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import ahocorasick
import hyperscan

HYPERSCAN = "hyperscan"
PYAHOCORASICK = "pyahocorasick"
TOGETHER = 50
"""Expressions of one database: the time to make it grows with the square of their number."""
MOST_HITS = 20_000
"""In one text: beyond it, `Flood`."""


class Flood(Exception):
    """A text has more hits than are looked at; it is made of them."""


class BadPattern(Exception):
    """A regular expression that cannot be used; *number* is its place in the list."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class Matcher(Protocol):
    """Finds every occurrence of each of its patterns."""

    def find(self, text: str) -> list[tuple[int, int, int]]:
        """Return (number of the pattern, start, end) of each occurrence, in characters. Raises `Flood`."""


class Nothing:
    """Has no patterns."""

    def find(self, text: str) -> list[tuple[int, int, int]]:
        del text
        return []


def literals(patterns: Sequence[str], library: str = HYPERSCAN, vital: int | None = None) -> Matcher:
    """Return a matcher of *patterns*, none of them empty or there twice.

    Of those behind the first *vital* ones (None: all are) hits beyond `MOST_HITS` are left out without a word: no
    flood of them hides the others. Takes up to seconds; the interpreter is not held for long.
    """
    if not patterns:
        return Nothing()
    vital = len(patterns) if vital is None else vital
    return _Literals(patterns, vital) if library == HYPERSCAN else _Fallback(patterns, vital)


def expressions(patterns: Sequence[str], vital: int | None = None) -> Matcher:
    """Return a matcher of regular expressions; *vital* as for `literals`. Raises `BadPattern`."""
    return _Expressions(patterns, len(patterns) if vital is None else vital) if patterns else Nothing()


def _database(patterns: Sequence[bytes], flags: int, *, literal: bool) -> Any:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    count = len(patterns)
    database.compile(
        expressions=list(patterns), ids=list(range(count)), elements=count, flags=[flags] * count, literal=literal
    )
    return database


def _scan(database: Any, lock: threading.Lock, data: bytes, vital: int) -> list[tuple[int, int, int]]:
    """Return (number, start, end) in bytes; starts are 0 where the database does not track them."""
    found: list[tuple[int, int, int]] = []
    counted: list[tuple[int, int, int]] = []

    def on_match(number: int, start: int, end: int, _flags: int, _context: object) -> bool | None:
        if number < vital:
            found.append((number, start, end))
            return True if len(found) >= MOST_HITS else None
        if len(counted) < MOST_HITS:
            counted.append((number, start, end))
        return None

    try:
        with lock:  # a database has one scratch space; admins' trials run in threads
            database.scan(data, match_event_handler=on_match)
    except hyperscan.ScanTerminated:
        raise Flood from None
    return found + counted if counted else found


class _Literals:
    def __init__(self, patterns: Sequence[str], vital: int) -> None:
        self._vital = vital
        self._lock = threading.Lock()
        encoded = [pattern.encode("utf-8", "surrogatepass") for pattern in patterns]
        self._lengths = [len(pattern) for pattern in patterns]
        self._database = _database(encoded, 0, literal=True)

    def find(self, text: str) -> list[tuple[int, int, int]]:
        data = text.encode("utf-8", "surrogatepass")
        found = _scan(self._database, self._lock, data, self._vital)
        if not found:
            return []
        at = _counter(data)
        ends = ((number, at(end)) for number, _, end in found)
        return [(number, end - self._lengths[number], end) for number, end in ends]


class _Expressions:
    def __init__(self, patterns: Sequence[str], vital: int) -> None:
        self._vital = vital
        self._lock = threading.Lock()
        self._databases = [
            made
            for start in range(0, len(patterns), TOGETHER)
            for made in _compiled(patterns[start : start + TOGETHER], start)
        ]

    def find(self, text: str) -> list[tuple[int, int, int]]:
        data = text.encode("utf-8", "replace")
        longest: dict[tuple[int, int], int] = {}
        counted: dict[tuple[int, int], int] = {}

        def on_match(first: int, place: int, start: int, end: int, _flags: int, _context: object) -> bool | None:
            number = first + place
            kept = (
                longest if number < self._vital else counted
            )  # each end is told; the last one of a start is the whole
            if len(kept) < MOST_HITS or (number, start) in kept:
                kept[number, start] = end
                return None
            return True if kept is longest else None

        try:
            with self._lock:
                for first, database in self._databases:
                    database.scan(data, match_event_handler=partial(on_match, first))
        except hyperscan.ScanTerminated:
            raise Flood from None
        at = _counter(data)
        return [(number, at(start), at(end)) for (number, start), end in [*longest.items(), *counted.items()]]


def _compiled(patterns: Sequence[str], first: int) -> list[tuple[int, Any]]:
    """Return databases of *patterns*, each with the number of its first one; *first* is that of all.

    Where they are too large together, or one of them is wrong, each half is tried alone. Raises `BadPattern`.
    """
    flags = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_UCP | hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SOM_LEFTMOST
    try:
        return [(first, _database([pattern.encode() for pattern in patterns], flags, literal=False))]
    except (hyperscan.error, UnicodeEncodeError) as error:
        if len(patterns) == 1:
            raise BadPattern(first, str(error)) from None
    half = len(patterns) // 2
    return [*_compiled(patterns[:half], first), *_compiled(patterns[half:], first + half)]


class _Fallback:
    """pyahocorasick over UTF-8 bytes as Latin-1: over characters its root has thousands of branches to try in turn."""

    def __init__(self, patterns: Sequence[str], vital: int) -> None:
        self._vital = vital
        self._automaton = ahocorasick.Automaton()
        for number, pattern in enumerate(patterns):
            self._automaton.add_word(_bytewise(pattern), (number, len(pattern)))
        self._automaton.make_automaton()

    def find(self, text: str) -> list[tuple[int, int, int]]:
        data = text.encode("utf-8", "surrogatepass")
        at = _counter(data)
        found: list[tuple[int, int, int]] = []
        counted = 0
        for last, (number, length) in self._automaton.iter(data.decode("latin-1")):
            counted += number >= self._vital
            if number >= self._vital and counted > MOST_HITS:
                continue
            end = at(last + 1)
            found.append((number, end - length, end))
            if len(found) - min(counted, MOST_HITS) >= MOST_HITS:
                raise Flood
        return found


def _bytewise(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _counter(data: bytes) -> Callable[[int], int]:
    """Return a function from an offset in bytes to one in characters; cheap where offsets grow."""
    if data.isascii():
        return lambda offset: offset
    seen = characters = 0

    def at(offset: int) -> int:
        nonlocal seen, characters
        if offset < seen:
            return len(data[:offset].decode("utf-8", "surrogatepass"))
        characters += len(data[seen:offset].decode("utf-8", "surrogatepass"))
        seen = offset
        return characters

    return at
