"""One entry of the keyword library, and what may be entered."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from keywords.folding import SPACED, SQUEEZED, has_ideographs
from keywords.pinyin import syllables
from keywords.risks import RISKS

LONGEST_TERM = 200
"""Characters of a term."""
LONGEST_LINE = 200
"""Characters of a mask, a source, a licence and the like."""
LONGEST_NOTE = 4_000
LONGEST_TAG = 64
MOST_TAGS = 50
MOST_EXCEPTIONS = 200
MOST_PARTS = 5
WIDEST = 500
"""Characters within which the parts of a combination may be asked for."""
MEASURED = ("benign_hits", "benign_texts")
"""Fields that a measurement sets, and nobody else."""
LARGEST = 253_402_300_799
"""The last second of the year 9999; no count is larger."""
PART_SIGN = "&"
"""Between the parts of a combination."""
FEWEST_SYLLABLES = 3
"""Of a pinyin term: two syllables sound like too many harmless words."""


class Action(StrEnum):
    """What a hit leads to."""

    BLOCK = "block"
    """Refuse the question, cut the answer; counts as a violation."""
    JUDGE = "judge"
    """Ask the next stage; never refuses alone."""
    MASK = "mask"
    """Replace in answers; in questions the same as observe."""
    OBSERVE = "observe"
    """Count only."""


class Match(StrEnum):
    """How a term is looked for."""

    EXACT = "exact"
    """Just as it is written."""
    FOLDED = "folded"
    """In each spelling that folds to the same."""
    PINYIN = "pinyin"
    """By its sound, in questions."""
    COMBO = "combo"
    """Several parts, in any order, within some characters, in questions."""
    REGEX = "regex"
    """A regular expression of linear time, in questions."""


ASKED_ONLY = frozenset({Match.PINYIN, Match.COMBO, Match.REGEX})
"""In answers they could only be found once their beginning had left."""


class Direction(StrEnum):
    """Where a term is looked for."""

    IN = "in"
    OUT = "out"
    BOTH = "both"


class Boundary(StrEnum):
    """What may stand beside a term."""

    AUTO = "auto"
    """Latin terms are whole words, others stand anywhere."""
    NONE = "none"
    """Anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One term, what it stands for and what follows when it is found.

    *severity* 1 (slight) to 3 (grave). *mask*: what stands in its place, a single character for each of the term's.
    *within*: characters in which the parts of a combination must stand. Times are Unix seconds.
    *benign_hits*: harmless texts that it hit when it was last measured; None: never measured. *benign_texts*: how many
    texts that was measured on; None: nobody knows.
    """

    id: int
    term: str
    risk: str
    severity: int = 2
    action: Action = Action.OBSERVE
    match: Match = Match.FOLDED
    direction: Direction = Direction.BOTH
    boundary: Boundary = Boundary.AUTO
    exceptions: tuple[str, ...] = ()
    mask: str = "*"
    within: int = 20
    tags: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    note: str = ""
    added_by: str = ""
    reviewed_at: int | None = None
    expires_at: int | None = None
    benign_hits: int | None = None
    benign_texts: int | None = None

    @property
    def squeezed(self) -> bool:
        """Whether it is looked for in the squeezed fold; else in the spaced one, as whole words."""
        return self.boundary is Boundary.NONE or has_ideographs(self.term)

    @property
    def parts(self) -> tuple[str, ...]:
        """The terms of a combination; of any other entry the one term."""
        return tuple(part.strip() for part in self.term.split(PART_SIGN)) if self.match is Match.COMBO else (self.term,)

    def folded(self, text: str) -> str:
        """Return *text* in the fold in which this entry is looked for."""
        return (SQUEEZED if self.squeezed else SPACED).text(text).strip()

    def unmeasured(self) -> "Entry":
        """Return the entry as it is before it is measured."""
        return replace(self, benign_hits=None, benign_texts=None)

    def alive(self, now: float) -> bool:
        """Return whether the entry has not expired at *now* (Unix seconds)."""
        return self.expires_at is None or now < self.expires_at

    def looks(self, direction: Direction) -> bool:
        """Return whether it is looked for in *direction* (in or out)."""
        return self.direction in {direction, Direction.BOTH}


def faults(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield field and reason of each thing that is wrong with *entry*; a regular expression itself is not looked at."""
    if entry.risk not in RISKS:
        yield "risk", f"`{entry.risk}` is none of the 31 risks (A1a … A5b)"
    if not 1 <= entry.severity <= 3:
        yield "severity", "must be 1, 2 or 3"
    if len(entry.term) > LONGEST_TERM:
        yield "term", f"has more than {LONGEST_TERM} characters"
    elif not entry.term.strip():
        yield "term", "is empty"
    elif entry.match is Match.PINYIN:
        if len(syllables(entry.term) or ()) < FEWEST_SYLLABLES:
            yield "term", f"must be {FEWEST_SYLLABLES} syllables or more, in ideographs or pinyin"
    elif entry.match is not Match.REGEX:
        yield from _term_faults(entry)
    if entry.match in ASKED_ONLY and entry.direction is not Direction.IN:
        yield "direction", f"{entry.match.value} terms are looked for in questions only: must be `in`"
    if entry.action is Action.MASK and entry.direction is Direction.IN:
        yield "action", "`mask` replaces words in answers, and this entry is looked for in questions only"
    yield from _exception_faults(entry)
    yield from _record_faults(entry)


def _record_faults(entry: Entry) -> Iterator[tuple[str, str]]:
    for name, most in (
        ("mask", LONGEST_LINE),
        ("source", LONGEST_LINE),
        ("licence", LONGEST_LINE),
        ("note", LONGEST_NOTE),
    ):
        if len(getattr(entry, name)) > most:
            yield name, f"has more than {most} characters"
    if len(entry.tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in entry.tags):
        yield "tags", f"at most {MOST_TAGS} of {LONGEST_TAG} characters"
    for name in ("reviewed_at", "expires_at", "benign_hits", "benign_texts"):
        value = getattr(entry, name)
        if value is not None and not 0 <= value <= LARGEST:
            yield name, f"must lie between 0 and {LARGEST}"
    if entry.benign_texts is not None and (entry.benign_hits is None or entry.benign_hits > entry.benign_texts):
        yield "benign_texts", "must be the number of texts in which `benign_hits` were counted"


def _term_faults(entry: Entry) -> Iterator[tuple[str, str]]:
    strict = entry.action in {Action.BLOCK, Action.MASK}
    for part in entry.parts:
        length = len(entry.folded(part))
        if length == 0:
            yield "term", f"nothing of `{part}` is left once spaces and symbols are gone"
        elif length == 1 and strict and entry.match is not Match.COMBO:
            yield "term", f"one character is too short for `{entry.action.value}`"
    if entry.match is Match.COMBO:
        if not 2 <= len(entry.parts) <= MOST_PARTS:
            yield "term", f"a combination has 2 to {MOST_PARTS} parts with {PART_SIGN} between them"
        if not 1 <= entry.within <= WIDEST:
            yield "within", f"must lie between 1 and {WIDEST}"


def _exception_faults(entry: Entry) -> Iterator[tuple[str, str]]:
    if not entry.exceptions:
        return
    if entry.match not in {Match.EXACT, Match.FOLDED}:
        yield "exceptions", f"{entry.match.value} terms have none"
        return
    if len(entry.exceptions) > MOST_EXCEPTIONS:
        yield "exceptions", f"more than {MOST_EXCEPTIONS}"
    term = entry.folded(entry.term)
    for exception in entry.exceptions:
        folded = entry.folded(exception)
        if term not in folded or folded == term or len(exception) > LONGEST_TERM:
            yield "exceptions", f"`{exception}` is no longer word that contains the term"
