"""The port of a judge on answers: it is shown the sentence in which an entry with the action `judge` stands."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keywords.entry import Action
from keywords.library import Hit
from policies.verdict import CLEAN, Verdict

LONGEST = 500
"""Characters before and behind an entry: beyond them a sentence is cut."""
MOST_SENTENCES = 20
"""Of one answer."""
_END = re.compile(r"[。！？!?…\n]+|\.(?=\s)")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of an answer, where it stands in it (character offsets), and the ids of the entries in it."""

    text: str
    start: int
    end: int
    entries: tuple[int, ...]


class AnswerJudge(Protocol):
    """Looks at what was said, once an answer is over. It decides nothing yet: what it finds goes on record."""

    async def judge_answer(self, sentences: Sequence[Sentence]) -> Verdict:
        """Return what is to be thought of *sentences*, one at least, in milliseconds. May be cancelled."""


class Unjudged:
    """No judge is in place: lets everything pass."""

    async def judge_answer(self, sentences: Sequence[Sentence]) -> Verdict:
        del sentences
        return CLEAN


def sentences(text: str, hits: Iterable[Hit]) -> list[Sentence]:
    """Return the sentences of *text* in which *hits* ask for a judge, each once, the first `MOST_SENTENCES`."""
    found: dict[tuple[int, int], list[int]] = {}
    for hit in sorted(hits, key=lambda hit: hit.start):
        if hit.entry.action is Action.JUDGE:
            found.setdefault(_around(text, hit.start, hit.end), []).append(hit.entry.id)
    places = list(found.items())[:MOST_SENTENCES]
    return [Sentence(text[start:end], start, end, tuple(dict.fromkeys(ids))) for (start, end), ids in places]


def _around(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where the sentence around a place begins and ends, its last sign included."""
    first = max(0, start - LONGEST)
    for stop in _END.finditer(text, first, start):
        first = stop.end()
    stop_after = _END.search(text, end, end + LONGEST)
    last = stop_after.end() if stop_after is not None else min(len(text), end + LONGEST)
    while first < start and text[first].isspace():
        first += 1
    return first, last
