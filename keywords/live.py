"""Terms in a text that is still growing: what has been found, and from where on a term may still be coming.

A piece of a stream is a few characters, so the automaton of the whole texts, which must see a text at once, is no use
here. Instead each beginning of each term is a key of a table (`words`), and the state is the list of beginnings that
the text ends with: nearly always none or one.
"""

import copy
from typing import NamedTuple, Self

from keywords.context import Term
from keywords.entry import Action
from keywords.folding import SPACED, SQUEEZED, Fold, is_word
from keywords.words import OPENINGS, PLAIN, SINGLE, Table, Words, is_plain, is_single, is_wordless

MOST_HELD = 2_000
"""Characters, nearly all signs, over which a term is not looked for any more: what is begun is held no longer."""


class Found(NamedTuple):
    """A term in the text: characters from *start* to before *end*, counted from the text's beginning."""

    term: Term
    start: int
    end: int


class _Waiting(NamedTuple):
    """A term that has come in full, but not yet what may excuse it: the folded text before it and, so far, after it."""

    found: Found
    before: str
    after: str


class _Side:
    """The state of one fold: the beginnings of terms that the text ends with, and the terms that wait."""

    __slots__ = ("begun", "table", "waiting")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.begun: list[tuple[int, str]] = []
        """Place of the first character, and the folded text from there."""
        self.waiting: list[_Waiting] = []

    def copy(self) -> "_Side":
        twin = _Side(self.table)
        twin.begun, twin.waiting = list(self.begun), list(self.waiting)
        return twin

    def live(self, otherwise: int) -> int:
        """Return the first place from which on a term may still be coming; *otherwise* where none may."""
        if self.begun:
            otherwise = min(otherwise, self.begun[0][0])
        if self.waiting:
            otherwise = min(otherwise, *(found.start for found, _, _ in self.waiting))
        return otherwise

    def step(self, folded: str, at: int, *, begins: bool) -> list[Found]:
        """Take one folded character, that of the text's character *at*; return the terms that it completes.

        *begins*: a term may begin with it.
        """
        beginnings, terms = self.table.beginnings, self.table.terms
        come = NONE
        before = self.begun
        begun = self.begun = []
        for start, so_far in before:
            longer = so_far + folded
            if longer in beginnings:
                begun.append((start, longer))
            if longer in terms:
                come = [*come, *(Found(term, start, at + 1) for term in terms[longer])]
        if begins:
            if folded in beginnings:
                begun.append((at, folded))
            if folded in terms:
                come = [*come, *(Found(term, at, at + 1) for term in terms[folded])]
        return come

    def decide(self, folded: str) -> list[Found]:
        """Take one folded character behind the terms that wait; return those that it makes certain."""
        come: list[Found] = []
        waiting, self.waiting = self.waiting, []
        for found, before, after in waiting:
            self.settle(_Waiting(found, before, after + folded), come)
        return come

    def settle(self, one: _Waiting, come: list[Found]) -> None:
        """Let a term come, wait or go, by what stands around it."""
        term = one.found.term
        if term.words and one.after and is_word(one.after[0]):
            return
        if term.excused(one.before, one.after):
            return
        if (term.words and not one.after) or term.undecided(one.before, one.after):
            self.waiting.append(one)
        else:
            come.append(one.found)

    def finish(self) -> list[Found]:
        """Return what the end of the text makes certain."""
        waiting, self.waiting, self.begun = self.waiting, [], []
        return [found for found, _, _ in waiting]


class Scanner:
    """The state of one growing text: `feed` it piece by piece, then `finish` it.

    It reads up to the first term whose entry blocks; then it has `ended`, and takes nothing more.
    """

    __slots__ = (
        "_base",
        "_blank",
        "_in_word",
        "_longest",
        "_raw",
        "_recent",
        "_spaced",
        "_squeezed",
        "at",
        "ended",
        "held",
        "live",
        "passed",
        "words",
    )

    def __init__(self, words: Words) -> None:
        self.words = words
        self.at = 0
        """Characters read so far."""
        self.live = 0
        """The place from where on a term may still be coming; once ended, from where on nothing may leave."""
        self.held = ""
        """The text from there."""
        self.passed = ""
        """What the last `feed` has let go: no term can begin in it any more."""
        self.ended = False
        self._squeezed = _Side(words.squeezed)
        self._spaced = _Side(words.spaced)
        self._longest = False
        """Whether of the squeezed beginnings the longest alone is kept."""
        self._in_word = False
        self._blank = False
        self._recent = ""
        """What stands before `held`, as far as an exception may need it."""
        self._raw = ""
        self._base = 0

    def copy(self) -> Self:
        """Return one that reads on from here by itself."""
        twin = copy.copy(self)
        twin._squeezed, twin._spaced = self._squeezed.copy(), self._spaced.copy()  # noqa: SLF001 - of its own kind
        return twin

    @property
    def behind(self) -> tuple[bool, bool, str]:
        """What stands before `held`, as far as it matters for what comes: an open word, a blank, an exception."""
        return self._in_word, self._blank, self._recent

    def is_as(self, other: "Scanner") -> bool:
        """Return whether both hold nothing, and will find the same in whatever comes."""
        return not (self.held or other.held) and self.behind == other.behind

    def feed(self, text: str) -> list[Found]:
        """Read *text* on; return the terms that have come, in the order in which that became certain."""
        words = self.words
        if not self.held and text and words.calm.issuperset(text):
            self.at = self.live = self.at + len(text)
            self._in_word, self._blank = False, SPACED[ord(text[-1])][-1] == " "
            self.passed = text
            if words.reach:
                self._forget(text)
            return NONE
        if self._glides(text):
            return NONE
        if not self.held and self._is_quiet(text):
            self.at = self.live = self.at + len(text)
            self.passed = text
            if words.reach:
                self._forget(text)
            return NONE
        raw = self._raw = self.held + text
        base = self._base = self.live
        squeezed, spaced = self._squeezed, self._spaced
        squeezed.begun = squeezed.table.begun(*squeezed.begun[0]) if self._longest else squeezed.begun
        self._longest = False
        wordless = not (spaced.begun or spaced.waiting) and is_wordless(text)
        found = self._read(text, wordless=wordless)
        begun = squeezed.begun
        if squeezed.waiting or spaced.begun or spaced.waiting or self.ended:
            live = spaced.live(squeezed.live(self.at))
            if self.ended:
                live = min(live, _first(found, live))
        elif begun:
            live = begun[0][0]
        else:
            live = self.at
        self.live = live
        self.passed, self.held = raw[: live - base], raw[live - base :]
        if words.reach:
            self._forget(self.passed)
        return self._given_up(found) if len(self.held) > MOST_HELD and not self.ended else found

    def _given_up(self, found: list[Found]) -> list[Found]:
        """Let go what is held as at the text's end, after *found*."""
        passed = self.passed
        found = [*found, *self.finish()]
        if self.words.reach:
            self._forget(self.passed)
        self.passed = passed + self.passed
        return found

    def _glides(self, text: str) -> bool:
        """Read *text* on if no term ends in it: then the longest beginning that it ends with is all there is to know.

        So it is with most of a text in ideographs. The shorter beginnings are looked up when they are needed.
        """
        squeezed, spaced = self._squeezed, self._spaced
        table = squeezed.table
        if not text or squeezed.waiting or spaced.begun or spaced.waiting or table.singles:
            return False
        raw = self.held + text
        if not (SINGLE.issuperset(raw) or is_single(raw)):
            return False
        starts, beginnings, ends = table.starts, table.beginnings, table.ends
        begun = squeezed.begun[0][1] if squeezed.begun else ""
        for folded in text.translate(SQUEEZED):
            if begun:
                begun += folded
                if begun[-3:] in ends or begun[-2:] in ends:
                    return False
                while begun not in beginnings:
                    begun = begun[1:]
                    if len(begun) == 1:
                        begun = folded if folded in starts else ""
                        break
            else:
                begun = folded if folded in starts else ""
        self.at += len(text)
        if begun:
            cut = len(raw) - len(begun)
            self.live = self.at - len(begun)
            squeezed.begun, self._longest = [(self.live, begun)], len(begun) > 1
            self.passed, self.held = raw[:cut], raw[cut:]
        else:
            self.live = self.at
            squeezed.begun, self._longest = [], False
            self.passed, self.held = raw, ""
        self._in_word, self._blank = False, SPACED[ord(text[-1])] == " "
        if self.words.reach:
            self._forget(self.passed)
        return True

    def _is_quiet(self, text: str) -> bool:
        """Return whether no term begins in *text*, before which none has begun; if so, the state is that behind it."""
        words = self.words
        if not (words.mute.issuperset(text) or words.is_mute(text)):
            return False
        # what is ASCII or between words is its own fold but for its case, as far as openings go
        spaced = text.lower() if PLAIN.issuperset(text) or is_plain(text) else SPACED.text(text)
        openings: list[str] = OPENINGS.findall(spaced)
        if not openings and is_wordless(text):
            words.learn_calm(text)
        if openings and self._in_word and spaced.startswith(openings[0]):
            del openings[0]  # it goes on with the word before
        if not words.openings.isdisjoint(openings):
            return False
        if spaced:
            last = SPACED[ord(spaced[-1])][-1:]
            self._in_word, self._blank = is_word(last), last == " "
        return True

    def finish(self) -> list[Found]:
        """End the text; return the terms that only its end makes certain."""
        self._raw, self._base = self.held, self.live
        found = self._exact([*self._squeezed.finish(), *self._spaced.finish()])
        self.live = _first(found, self.at)
        self.ended = self.live < self.at
        self.passed, self.held = self._raw[: self.live - self._base], self._raw[self.live - self._base :]
        return found

    def feed_clear(self, text: str, squeezed: str) -> list[Found]:
        """Read *text* on, of which it is known that no term stands in it in full; nothing may be held.

        *squeezed* is the text in that fold.
        """
        longest = self.words.longest
        spaced = SPACED.text(text[-2 * longest :])
        is_short = len(spaced) < min(longest, len(text))  # blanks and marks, of which it may go on further back
        if is_short or self.words.squeezed.is_live(squeezed, longest) or self.words.spaced.is_live(spaced, longest):
            return self._feed_tail(text)
        self.at = self.live = self.at + len(text)
        self.passed = text
        self._in_word, self._blank = is_word(spaced[-1]), spaced[-1] == " "
        if self.words.reach:
            self._forget(text)
        return NONE

    def _feed_tail(self, text: str) -> list[Found]:
        """Read on in *text*, in full only where a term may have begun that is still live at its end."""
        longest, tail = self.words.longest, len(text)
        for width in (2 * longest, 8 * longest):
            end = text[-width:]
            if min(len(SQUEEZED.text(end)), len(SPACED.text(end))) >= longest:
                tail = min(width, len(text))
                break
        before = text[: len(text) - tail]
        spaced = SPACED.text(before)
        if not spaced:
            return self.feed(text)
        self.at = self.live = self.at + len(before)
        self._in_word, self._blank = is_word(spaced[-1]), spaced[-1] == " "
        if self.words.reach:
            self._forget(before)
        found = self.feed(text[-tail:])
        self.passed = before + self.passed
        return found

    def _read(self, text: str, *, wordless: bool) -> list[Found]:
        """Read up to the end of *text* or the first term that blocks; *wordless*: the spaced fold has no part in it."""
        squeezed, starts = self._squeezed, self._squeezed.table.starts
        found: list[Found] = []
        for at, character in enumerate(text, self.at):
            point = ord(character)
            come = NONE if wordless else self._read_spaced(SPACED[point], at)
            for folded in SQUEEZED[point]:
                begins = folded in starts
                if begins or squeezed.begun or squeezed.waiting:
                    complete = squeezed.step(folded, at, begins=begins)
                    if complete or squeezed.waiting:
                        come = come + self._settled(squeezed, SQUEEZED, folded, complete)
            if come and (come := self._exact(come)):
                found += come
                if any(one.term.entry.action is Action.BLOCK for one in come):
                    self.at, self.ended = at + 1, True
                    return found
        self.at += len(text)
        if wordless and text:
            self._in_word, self._blank = False, SPACED[ord(text[-1])][-1] == " "
        return found

    def _read_spaced(self, spaced: str, at: int) -> list[Found]:
        side, come = self._spaced, NONE
        for folded in spaced:
            blank = folded == " "
            if blank and self._blank:
                continue
            begins = not self._in_word and folded in side.table.starts
            if begins or side.begun or side.waiting:
                complete = side.step(folded, at, begins=begins)
                if complete or side.waiting:
                    come = come + self._settled(side, SPACED, folded, complete)
            self._blank, self._in_word = blank, (folded.isascii() and not blank) or is_word(folded)
        return come

    def _settled(self, side: _Side, fold: Fold, folded: str, complete: list[Found]) -> list[Found]:
        """Return which terms *folded* makes certain: of those that wait, and of those that are *complete* with it."""
        come = side.decide(folded) if side.waiting else []
        for found in complete:
            before = ""
            if found.term.windows:
                before = fold.text((self._recent + self._raw[: found.start - self._base])[-self.words.reach :])
            side.settle(_Waiting(found, before, ""), come)
        return come

    def _exact(self, found: list[Found]) -> list[Found]:
        base = self._base
        return [one for one in found if one.term.is_exact(self._raw[one.start - base : one.end - base])]

    def _forget(self, text: str) -> None:
        self._recent = (self._recent + text)[-self.words.reach :]


NONE: list[Found] = []


def stands(words: Words, text: str) -> bool:
    """Return whether a term of *words* stands in *text*, which is all there is."""
    scanner = Scanner(words)
    return bool(scanner.feed(text) or scanner.finish())


def _first(found: list[Found], otherwise: int) -> int:
    """Return where the first term of *found* that blocks begins; *otherwise* where none does."""
    return min((one.start for one in found if one.term.entry.action is Action.BLOCK), default=otherwise)
