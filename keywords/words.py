"""The terms that a growing text is watched for, as tables of their beginnings; and which characters concern none."""

import re
from collections.abc import Callable, Iterable

from keywords.context import Term
from keywords.folding import SPACED, SQUEEZED, is_word

SLICE = 100
"""Terms that are entered in one go before the event loop gets its turn."""
MOST_REMEMBERED = 60_000
"""Characters whose nature is remembered; whoever makes a model say all of Unicode shall not fill the memory."""
LOOK = 4
"""Characters of a word by which it is told that no term begins with it."""
_IDEOGRAPHS = "\u2e80-\u2fdf\u3005\u3007\u3040-\u31ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
OPENINGS = re.compile(f"(?<![^\\W_{_IDEOGRAPHS}])[^\\W_{_IDEOGRAPHS}]{{1,{LOOK}}}")
"""The first characters of each word of a folded text."""
SYMBOLS = 4
"""Characters that are looked at for each folded one of an exception: what is put between them counts little."""


class Table:
    """The terms of one fold by their literals, and every beginning that is shorter than its term."""

    __slots__ = ("beginnings", "ends", "singles", "starts", "terms")

    def __init__(self) -> None:
        self.starts: set[str] = set()
        """The first characters of all terms."""
        self.ends: set[str] = set()
        """The last three characters of each term, or all of it."""
        self.singles = False
        """Whether a term is one character."""
        self.beginnings: set[str] = set()
        self.terms: dict[str, tuple[Term, ...]] = {}

    def enter(self, term: Term) -> None:
        """Add a term."""
        literal = term.literal
        self.starts.add(literal[0])
        self.ends.add(literal[-3:])
        self.singles = self.singles or len(literal) == 1
        self.beginnings.update(literal[:end] for end in range(1, len(literal)))
        self.terms[literal] = (*self.terms.get(literal, ()), term)

    def begun(self, place: int, longest: str) -> list[tuple[int, str]]:
        """Return every beginning that a text ends with, whose *longest* stands at *place*, one character a place."""
        shorter = ((place + cut, longest[cut:]) for cut in range(1, len(longest)) if longest[cut] in self.starts)
        return [(place, longest), *(one for one in shorter if one[1] in self.beginnings)]

    def is_live(self, text: str, longest: int) -> bool:
        """Return whether *text* may end with the beginning of a term; none is longer than *longest*."""
        beginnings, starts = self.beginnings, self.starts
        for place in range(max(0, len(text) - longest), len(text)):
            if text[place] in starts and text[place:] in beginnings:
                return True
        return False


class Words:
    """The terms that a growing text is watched for. Immutable."""

    def __init__(self, terms: Iterable[Term], rest: Callable[[], None] = lambda: None) -> None:
        self.squeezed = Table()
        self.spaced = Table()
        self.openings: set[str] = set()
        """The first characters of all spaced terms, up to `LOOK`, and what is shorter."""
        self.reach = 0
        """Characters before a term that an exception may need to see, symbols between them included; 0: none."""
        for number, term in enumerate(terms):
            if number % SLICE == 0:
                rest()
            self.reach = max(self.reach, term.longest * SYMBOLS)
            (self.spaced if term.words else self.squeezed).enter(term)
            if term.words:
                self.openings.update(term.literal[:end] for end in range(1, min(LOOK, len(term.literal)) + 1))
        self.longest = max(map(len, (*self.squeezed.terms, *self.spaced.terms)), default=0)
        """Folded characters of the longest term."""
        self.any = bool(self.longest)
        self.mute: set[str] = set()
        """Characters with which no squeezed term begins, as far as they have been met."""
        self.calm: set[str] = set()
        """Characters that stand between words and begin no term, as far as they have been met."""

    def is_mute(self, text: str) -> bool:
        """Return whether no squeezed term begins with any character of *text*; remember those with which none does."""
        for character in text:
            if not self.squeezed.starts.isdisjoint(SQUEEZED[ord(character)]):
                return False
            if len(self.mute) < MOST_REMEMBERED:
                self.mute.add(character)
        return True

    def learn_calm(self, text: str) -> None:
        """Remember the characters of *text*, which are such."""
        if len(self.calm) < MOST_REMEMBERED:
            self.calm.update(text)


_WORDLESS: set[str] = set()
PLAIN = {chr(point) for point in range(128)} - {"'"}
"""ASCII but for the sign that the spaced fold drops, and what is wordless."""


def is_plain(text: str) -> bool:
    """Return whether *text* is ASCII and what is wordless; remember what of it is wordless."""
    return all(character in PLAIN or is_wordless(character) for character in text)


def is_wordless(text: str) -> bool:
    """Return whether every character of *text* stands between words, whatever comes before and after."""
    if _WORDLESS.issuperset(text):
        return True
    for character in text:
        spaced = SPACED[ord(character)]
        if not spaced or any(map(is_word, spaced)):
            return False
        if len(_WORDLESS) < MOST_REMEMBERED:
            _WORDLESS.add(character)
            PLAIN.add(character)
    return True


SINGLE: set[str] = set()


def is_single(text: str) -> bool:
    """Return whether each character of *text*, which has some, is one in both folds, and none is of a word."""
    if SINGLE.issuperset(text):
        return bool(text)
    for character in text:
        point = ord(character)
        if len(SQUEEZED[point]) != 1 or len(SPACED[point]) != 1 or is_word(SPACED[point]):
            return False
        if len(SINGLE) < MOST_REMEMBERED:
            SINGLE.add(character)
    return True
