"""What is in a text and what may still be coming, by the plainest reading of the rules: slow, and independent."""

from collections.abc import Sequence

from keywords.context import Term
from keywords.entry import Entry, Match
from keywords.folding import SPACED, SQUEEZED, is_word

Place = tuple[int, int, int]
"""Entry id, start, end."""


def _folded(entry: Entry, text: str) -> tuple[str, list[int]]:
    return (SQUEEZED if entry.squeezed else SPACED).traced(text)


def _excused(entry: Entry, literal: str, folded: str, start: int) -> bool:
    for exception in map(entry.folded, entry.exceptions):
        for offset in range(len(exception)):
            fits = exception.startswith(literal, offset) and start >= offset
            if fits and folded.startswith(exception, start - offset):
                return True
    return False


def places(entries: Sequence[Entry], text: str) -> set[Place]:
    """Return each entry that stands in the whole *text*, with its place."""
    found = set()
    for entry in entries:
        literal = entry.folded(entry.term)
        folded, origin = _folded(entry, text)
        for start in range(len(folded) - len(literal) + 1):
            end = start + len(literal)
            if not folded.startswith(literal, start) or _excused(entry, literal, folded, start):
                continue
            if not entry.squeezed:
                if start > 0 and is_word(folded[start - 1]):
                    continue
                if end < len(folded) and is_word(folded[end]):
                    continue
            first, last = origin[start], origin[end - 1] + 1
            if entry.match is not Match.EXACT or text[first:last] == entry.term:
                found.add((entry.id, first, last))
    return found


def live(entries: Sequence[Entry], text: str) -> int:
    """Return the first place of *text* from which on a term may still be coming; its length where none may."""
    first = len(text)
    for entry in entries:
        term = Term(entry)
        folded, origin = _folded(entry, text)
        for start in range(len(folded)):
            if term.words and start > 0 and is_word(folded[start - 1]):
                continue
            rest = folded[start:]
            begun = len(rest) <= len(term.literal) and term.literal.startswith(rest)
            waits = begun and rest != term.literal
            if rest.startswith(term.literal):
                waits = _waits(entry, term, folded, start)
            elif begun:
                waits = True
            if waits:
                first = min(first, origin[start])
    return first


def _waits(entry: Entry, term: Term, folded: str, start: int) -> bool:
    """Return whether a term in full is not certain yet."""
    end = start + len(term.literal)
    after = folded[end:]
    if term.words and after and is_word(after[0]):
        return False
    if _excused(entry, term.literal, folded, start):
        return False
    if term.words and not after:
        return True
    for exception in map(entry.folded, entry.exceptions):
        for offset in range(len(exception)):
            if exception.startswith(term.literal, offset) and start >= offset:
                so_far = folded[start - offset :]
                if len(so_far) < len(exception) and exception.startswith(so_far):
                    return True
    return False


def masked(entries: Sequence[Entry], text: str, end: int) -> str:
    """Return *text* up to *end* with the masks of *entries* on; where two overlap, the later begun counts."""
    characters = list(text[:end])
    signs = {entry.id: entry.mask for entry in entries}
    for start, stop, number in sorted((start, stop, number) for number, start, stop in places(entries, text)):
        sign = signs[number]
        for place in range(start, min(stop, end)):
            characters[place] = sign if len(sign) == 1 or place == start else ""
    return "".join(characters)
