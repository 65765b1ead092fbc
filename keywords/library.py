"""The keyword library as one process uses it: built once for a version, then only asked, and swapped whole."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from keywords import matcher, pinyin
from keywords.context import Term, stands_alone
from keywords.entry import Action, Direction, Entry, Match
from keywords.folding import SPACED, SQUEEZED, Fold
from keywords.forms import Form, forms
from keywords.live import Words
from keywords.matcher import HYPERSCAN, Flood, Matcher

PRIMARY = "text"
"""The form that is the text itself."""
SLICE = 100
"""Entries that are prepared in one go, about half a millisecond, before the event loop gets its turn."""
ACTING = frozenset({Action.BLOCK, Action.JUDGE, Action.MASK})


class BadPattern(Exception):
    """The regular expression of *entry* cannot be used."""

    def __init__(self, entry: Entry, reason: str) -> None:
        super().__init__(f"`{entry.term}`: {reason}")
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry found in a text: where (character offsets, end exclusive) and in which form of it."""

    entry: Entry
    start: int
    end: int
    form: str = PRIMARY


def _no_rest() -> None:
    """Go on at once."""


class _Layer:
    """The literals of one fold, and which terms each stands for."""

    def __init__(self, fold: Fold, terms: Iterable[Term], library: str, rest: Callable[[], None]) -> None:
        self.fold = fold
        numbers: dict[str, int] = {}
        self.terms: list[list[Term]] = []
        for count, term in enumerate(terms):
            if count % SLICE == 0:
                rest()
            number = numbers.setdefault(term.literal, len(numbers))
            if number == len(self.terms):
                self.terms.append([])
            self.terms[number].append(term)
        self.matcher = matcher.literals(list(numbers), library)

    def find(self, reading: "_Reading", fewest: int) -> Iterator[tuple[Term, int, int]]:
        """Yield each term with its place in the text."""
        if not self.terms:
            return
        found = self.matcher.find(reading.folded(self.fold))
        if not found:
            return
        text = reading.text
        folded, origin = self.fold.traced(text)
        for number, start, end in found:
            if end - start < fewest:
                continue
            first, last = origin[start], origin[end - 1] + 1
            for term in self.terms[number]:
                if term.words and not stands_alone(folded, start, end):
                    continue
                if term.windows and term.excused(folded[:start], folded[end:]):
                    continue
                if term.is_exact(text[first:last]):
                    yield term, first, last


class _Group:
    """Entries that are looked for together."""

    def __init__(self, terms: Iterable[Term], library: str, rest: Callable[[], None]) -> None:
        squeezed: list[Term] = []
        spaced: list[Term] = []
        for count, term in enumerate(terms):
            if count % SLICE == 0:
                rest()
            (spaced if term.words else squeezed).append(term)
        self.layers = [_Layer(SQUEEZED, squeezed, library, rest), _Layer(SPACED, spaced, library, rest)]

    def find(self, reading: "_Reading", fewest: int) -> Iterator[tuple[Term, int, int]]:
        for layer in self.layers:
            yield from layer.find(reading, fewest)


class _Reading:
    """A text that is looked through several times, and folded once."""

    __slots__ = ("_folded", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: list[tuple[Fold, str]] = []

    def folded(self, fold: Fold) -> str:
        """Return the text in *fold*."""
        for known, folded in self._folded:
            if known is fold:
                return folded
        folded = fold.text(self.text)
        self._folded.append((fold, folded))
        return folded


class _Sounds:
    """The entries that are found by their sound."""

    def __init__(self, entries: Sequence[Entry], library: str) -> None:
        self.entries: dict[str, list[tuple[Entry, tuple[str, ...]]]] = {}
        for entry in entries:
            syllables = pinyin.syllables(entry.term) or ()
            self.entries.setdefault("".join(syllables), []).append((entry, syllables))
        self.matcher = matcher.literals(list(self.entries), library)

    def find(self, text: str) -> Iterator[Hit]:
        """Yield each entry that *text* sounds like."""
        if not self.entries:
            return
        letters, origin = pinyin.sounds(text)
        for _, start, end in self.matcher.find(letters):
            for entry, syllables in self.entries[letters[start:end]]:
                if pinyin.fits(text, origin, start, syllables):
                    yield Hit(entry, origin[start], origin[end - 1] + 1, "pinyin")


class Library:
    """One version of the library. Immutable; `build` makes it."""

    def __init__(self, entries: Sequence[Entry], *, version: int, library: str, rest: Callable[[], None]) -> None:
        self.version = version
        self.entries = tuple(entries)
        terms = list(_terms(self.entries, rest))
        self._acting = _Group((t for t in terms if t.entry.action in ACTING), library, rest)
        self._watching = _Group((t for t in terms if t.entry.action not in ACTING), library, rest)
        """Apart, so that no flood of those that are only counted hides the others."""
        self._sounds = _Sounds([entry for entry in self.entries if entry.match is Match.PINYIN], library)
        self._patterns = [entry for entry in self.entries if entry.match is Match.REGEX]
        try:
            self._expressions: Matcher = matcher.expressions([entry.term for entry in self._patterns])
        except matcher.BadPattern as error:
            raise BadPattern(self._patterns[error.number], str(error)) from None
        stopping = {Action.BLOCK, Action.MASK}
        watched = (t for t in terms if t.entry.action in stopping and t.entry.looks(Direction.OUT))
        self.words = Words(watched, rest)
        """What an answer is watched for while it grows."""

    @classmethod
    def build(
        cls,
        entries: Sequence[Entry],
        *,
        version: int = 0,
        library: str = HYPERSCAN,
        rest: Callable[[], None] = _no_rest,
    ) -> "Library":
        """Return the library of *entries*, none of which has `faults`. Raises `BadPattern`.

        Takes up to seconds: call it in a thread, with a *rest* that sleeps a moment; it is called between small slices
        of the work that holds the interpreter.
        """
        return cls(entries, version=version, library=library, rest=rest)

    def is_clear(self, text: str) -> bool:
        """Return whether nothing that acts on answers stands in *text*, whatever its surroundings; quickly."""
        try:
            return not any(layer.terms and layer.matcher.find(layer.fold.text(text)) for layer in self._acting.layers)
        except Flood:
            return False

    def find(self, text: str, direction: Direction) -> tuple[Hit, ...]:
        """Return what is in *text*, each entry once a place. Raises `Flood`.

        Questions are read in every form that hides a word; answers as they are.
        """
        hits: dict[tuple[int, int, int], Hit] = {}
        for hit in self._all_hits(text, direction):
            hits.setdefault((hit.entry.id, hit.start, hit.end), hit)
        return tuple(hits.values())

    def _all_hits(self, text: str, direction: Direction) -> Iterator[Hit]:
        reading = _Reading(text)
        yield from _hits(self._acting, reading, direction)
        with contextlib.suppress(Flood):
            yield from _hits(self._watching, reading, direction)
        if direction is Direction.IN:
            yield from self._sounds.find(text)
            for number, start, end in self._expressions.find(text):
                yield Hit(self._patterns[number], start, end, "regex")
            for form in forms(text):
                yield from _in_form(self._acting, form, len(text))


def _terms(entries: Sequence[Entry], rest: Callable[[], None]) -> Iterator[Term]:
    """Yield the literals of *entries*."""
    for number, entry in enumerate(entries):
        if number % SLICE == 0:
            rest()
        if entry.match in {Match.EXACT, Match.FOLDED, Match.COMBO}:
            for part in range(len(entry.parts)):
                yield Term(entry, part)


def _hits(group: _Group, reading: _Reading, direction: Direction, fewest: int = 1) -> Iterator[Hit]:
    """Yield the entries of *group* in *text*: single terms, and combinations whose parts stand near enough."""
    parts: dict[int, list[tuple[Term, int, int]]] = {}
    for term, start, end in group.find(reading, fewest):
        if not term.entry.looks(direction):
            continue
        if term.is_part:
            parts.setdefault(term.entry.id, []).append((term, start, end))
        else:
            yield Hit(term.entry, start, end)
    for places in parts.values():
        found = _together(places)
        if found is not None:
            yield Hit(places[0][0].entry, *found)


def _together(places: list[tuple[Term, int, int]]) -> tuple[int, int] | None:
    """Return the first stretch that holds every part of a combination within its width, or None."""
    entry = places[0][0].entry
    wanted = len(entry.parts)
    last: dict[int, tuple[int, int]] = {}
    for term, start, end in sorted(places, key=lambda place: place[2]):
        last[term.part] = (start, end)
        first = min(begin for begin, _ in last.values())
        if len(last) == wanted and end - first <= entry.within:
            return first, end
    return None


def _in_form(group: _Group, form: Form, length: int) -> Iterator[Hit]:
    """Yield what another reading of the text holds, with the places of the text itself."""
    for hit in _hits(group, _Reading(form.text), Direction.IN, form.fewest):
        if form.origin is None:
            yield Hit(hit.entry, 0, length, form.name)
        else:
            places = form.origin[hit.start : hit.end]
            yield Hit(hit.entry, min(places), max(places) + 1, form.name)


EMPTY = Library.build(())
"""Knows no word."""
