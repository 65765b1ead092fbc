"""What stands around a hit and may undo it: word boundaries and longer harmless words."""

from collections.abc import Sequence

from keywords.entry import Entry, Match
from keywords.folding import is_word


class Term:
    """One literal of an entry, folded, with what must not stand around it."""

    __slots__ = ("entry", "is_part", "literal", "longest", "longest_after", "part", "windows", "words")

    def __init__(self, entry: Entry, part: int = 0) -> None:
        self.entry = entry
        self.part = part
        self.is_part = entry.match is Match.COMBO
        """Whether it is only a part of a combination."""
        self.literal = entry.folded(entry.parts[part])
        self.words = not entry.squeezed
        """Whether it must be whole words."""
        self.windows = tuple(_windows(self.literal, [entry.folded(e) for e in entry.exceptions]))
        self.longest = max((len(before) for before, _ in self.windows), default=0)
        """Characters before a hit that an exception may need to see."""
        self.longest_after = max((len(after) for _, after in self.windows), default=0)

    def excused(self, before: str, after: str) -> bool:
        """Return whether a longer harmless word covers a hit between *before* and *after* (folded, as far as known)."""
        return any(before.endswith(left) and after.startswith(right) for left, right in self.windows)

    def undecided(self, before: str, after: str) -> bool:
        """Return whether more text behind *after* could still excuse a hit."""
        return any(
            before.endswith(left) and len(after) < len(right) and right.startswith(after)
            for left, right in self.windows
        )

    def is_exact(self, raw: str) -> bool:
        """Return whether the text as it was written is what the entry asks for."""
        return self.entry.match is not Match.EXACT or raw == self.entry.term


def _windows(literal: str, exceptions: Sequence[str]) -> list[tuple[str, str]]:
    """Return what stands before and after each occurrence of *literal* in the exceptions."""
    found = []
    for exception in exceptions:
        start = exception.find(literal)
        while start >= 0:
            found.append((exception[:start], exception[start + len(literal) :]))
            start = exception.find(literal, start + 1)
    return found


def stands_alone(folded: str, start: int, end: int) -> bool:
    """Return whether ``folded[start:end]`` is whole words."""
    return not (start > 0 and is_word(folded[start - 1])) and not (end < len(folded) and is_word(folded[end]))
