"""The keyword library as one process uses it: built once for a version, then only asked, and swapped whole."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from keywords import matcher, pinyin
from keywords.context import Term, stands_alone
from keywords.entry import Action, Direction, Entry, Match
from keywords.folding import SPACED, SQUEEZED, Fold
from keywords.forms import Form, forms, of_payload
from keywords.matcher import HYPERSCAN, Flood, Matcher
from keywords.words import Words

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
    """The literals of one fold, and which terms each stands for; those that act come first."""

    def __init__(self, fold: Fold, terms: Iterable[Term], library: str, rest: Callable[[], None]) -> None:
        self.fold = fold
        acting: dict[str, list[Term]] = {}
        counted: dict[str, list[Term]] = {}
        for count, term in enumerate(terms):
            if count % SLICE == 0:
                rest()
            (acting if term.entry.action in ACTING else counted).setdefault(term.literal, []).append(term)
        for literal in acting.keys() & counted.keys():
            acting[literal] += counted.pop(literal)
        self.vital = len(acting)
        """Literals that act; the others behind them are only counted."""
        self.terms = [*acting.values(), *counted.values()]
        self.matcher = matcher.literals([*acting, *counted], library, self.vital)

    def find(self, reading: "Reading", fewest: int, *, acting: bool) -> Iterator[tuple[Term, int, int]]:
        """Yield each term with its place in the text; *acting*: none that is only counted."""
        found = reading.matches(self)
        if acting or fewest > 1:
            bound = self.vital if acting else len(self.terms)
            found = [one for one in found if one[0] < bound and one[2] - one[1] >= fewest]
        if not found:
            return
        text = reading.text
        folded, origin = self.fold.traced(text)
        for number, start, end in found:
            first, last = origin[start], origin[end - 1] + 1
            for term in self.terms[number]:
                if term.words and not stands_alone(folded, start, end):
                    continue
                if term.windows and term.excused(
                    folded[max(0, start - term.longest) : start], folded[end : end + term.longest_after]
                ):
                    continue
                if term.is_exact(text[first:last]):
                    yield term, first, last

    def matches(self, reading: "Reading") -> list[tuple[int, int, int]]:
        """Return what the matcher finds in the folded text."""
        if not self.terms:
            return []
        if self.fold is SPACED:
            words = reading.words
            if not words or not self.matcher.find(words):
                return []
        return self.matcher.find(reading.folded(self.fold))


_PLAIN = "\u4e00-\u9fff\u3000-\u3020\uff01\uff08-\uff0f\uff1a-\uff20\u2018-\u201f\u2026\u2014\\s!-/:-@"
"""What most of a Chinese text consists of: no character of a word that stands between blanks."""
_WORDS = re.compile(f"[^{_PLAIN}][^\u4e00-\u9fff]*")
"""From a character that may be of such a word up to the next ideograph."""
_BETWEEN = "\u4e00"


class Reading:
    """A text that is looked through several times; folded once, and matched once a layer."""

    __slots__ = ("_folded", "_matches", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: dict[int, str] = {}
        self._matches: dict[int, list[tuple[int, int, int]]] = {}

    def folded(self, fold: Fold) -> str:
        """Return the text in *fold*."""
        found = self._folded.get(id(fold))
        if found is None:
            found = self._folded[id(fold)] = fold.text(self.text)
        return found

    @property
    def words(self) -> str:
        """The text in the spaced fold without most of what is not of a word: a quick look whether it is worth more."""
        return _BETWEEN.join(map(SPACED.text, _WORDS.findall(self.text)))

    def matches(self, layer: _Layer) -> list[tuple[int, int, int]]:
        """Return what *layer* finds in it. Raises `Flood`."""
        found = self._matches.get(id(layer))
        if found is None:
            found = self._matches[id(layer)] = layer.matches(self)
        return found


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
        self._layers = (
            _Layer(SQUEEZED, (term for term in terms if not term.words), library, rest),
            _Layer(SPACED, (term for term in terms if term.words), library, rest),
        )
        self._latest = Reading("")
        self._sounds = _Sounds([entry for entry in self.entries if entry.match is Match.PINYIN], library)
        patterns = [entry for entry in self.entries if entry.match is Match.REGEX]
        self._patterns = sorted(patterns, key=lambda entry: entry.action not in ACTING)
        vital = sum(entry.action in ACTING for entry in patterns)
        try:
            self._expressions: Matcher = matcher.expressions([entry.term for entry in self._patterns], vital)
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

    def reading(self, text: str) -> Reading:
        """Return *text* for looking through it; the same again for the same text, so that work is not done twice."""
        latest = self._latest
        if latest.text is not text:
            latest = self._latest = Reading(text)
        return latest

    def is_clear(self, text: str) -> bool:
        """Return whether nothing that acts stands in *text*, whatever its surroundings; quickly."""
        reading = self.reading(text)
        try:
            return all(number >= layer.vital for layer in self._layers for number, _, _ in reading.matches(layer))
        except Flood:
            return False

    def find(self, text: str, direction: Direction, *, hidden: bool = True) -> tuple[Hit, ...]:
        """Return what is in *text*, each entry once a place. Raises `Flood`.

        Questions are read in every form that hides a word, unless *hidden* is False; answers as they are.
        """
        if not self.entries:
            return ()
        hits: dict[tuple[int, int, int], Hit] = {}
        for hit in self._hits(self.reading(text), direction):
            hits.setdefault((hit.entry.id, hit.start, hit.end), hit)
        if direction is Direction.IN and hidden:
            for hit in self._hidden(text):
                hits.setdefault((hit.entry.id, hit.start, hit.end), hit)
        return tuple(hits.values())

    def find_hidden(self, text: str) -> tuple[Hit, ...]:
        """Return what only other readings of a question show, those of its payloads aside. Raises `Flood`."""
        return tuple(dict.fromkeys(self._hidden(text, encoded=False))) if self.entries else ()

    def find_decoded(self, text: str) -> tuple[Hit, ...]:
        """Return what acts in *text*, a payload of a question or a part of one. Raises `Flood`."""
        return tuple(dict.fromkeys(self._in_forms(of_payload(text), len(text)))) if self.entries else ()

    def _hidden(self, text: str, *, encoded: bool = True) -> Iterator[Hit]:
        """Yield what is found in questions alone: sounds, expressions, and terms in other readings of the text."""
        yield from self._heard(text)
        yield from self._in_forms(forms(text, encoded=encoded), len(text))

    def _heard(self, text: str) -> Iterator[Hit]:
        """Yield what *text* sounds like, and which expressions fit it."""
        yield from self._sounds.find(text)
        for number, start, end in self._expressions.find(text):
            yield Hit(self._patterns[number], start, end, "regex")

    def _in_forms(self, readings: Iterable[Form], length: int) -> Iterator[Hit]:
        """Yield the entries that act in other *readings* of a text of so many characters, at their places in it."""
        for form in readings:
            if form.is_payload:
                heard = (hit for hit in self._heard(form.text) if hit.entry.action in ACTING)
                yield from (Hit(hit.entry, 0, length, f"{form.name}+{hit.form}") for hit in heard)
            for hit in self._hits(Reading(form.text), Direction.IN, form.fewest, acting=True):
                if form.origin is None:
                    yield Hit(hit.entry, 0, length, form.name)
                else:
                    places = form.origin[hit.start : hit.end]
                    yield Hit(hit.entry, min(places), max(places) + 1, form.name)

    def _hits(self, reading: Reading, direction: Direction, fewest: int = 1, *, acting: bool = False) -> Iterator[Hit]:
        """Yield the entries in one reading: single terms, and combinations whose parts stand near enough."""
        parts: dict[int, list[tuple[Term, int, int]]] = {}
        for layer in self._layers:
            for term, start, end in layer.find(reading, fewest, acting=acting):
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


def _terms(entries: Sequence[Entry], rest: Callable[[], None]) -> Iterator[Term]:
    """Yield the literals of *entries*."""
    for number, entry in enumerate(entries):
        if number % SLICE == 0:
            rest()
        if entry.match in {Match.EXACT, Match.FOLDED, Match.COMBO}:
            for part in range(len(entry.parts)):
                yield Term(entry, part)


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


EMPTY = Library.build(())
"""Knows no word."""
