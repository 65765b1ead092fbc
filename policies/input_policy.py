"""The order of an input's stages: the keyword library; the others come with the judge."""

import contextlib
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Protocol

from keywords.entry import Direction
from keywords.library import Hit, Library
from keywords.matcher import Flood
from policies import keyword_policy
from policies.keyword_policy import Count, Where, uncounted
from policies.utterance import Utterance
from policies.verdict import CLEAN, Verdict

MOST_SEEN = 2_048
LONGEST_SEEN = 2_000
MOST_HITS_SEEN = 50
"""Texts, and characters and hits of each, that are remembered: some megabytes."""


class Look(Enum):
    """At what of a text is looked."""

    ALL = "all"
    PLAIN = "plain"
    """Itself."""
    HIDDEN = "hidden"
    """Other readings of it that show hidden words, those of its payloads aside."""
    DECODED = "decoded"
    """All readings of a text that is a payload of what was said."""


class InputPolicy(Protocol):
    """Decides on what a person says, before any engine is asked for an answer."""

    def local(self, utterance: Utterance, look: Look = Look.ALL) -> Verdict:
        """Return the verdict of the stages inside this process, in microseconds; `Verdict.open` asks for `judge`."""

    async def judge(self, utterance: Utterance) -> Verdict:
        """Return the final verdict of the model-based judge. May be cancelled."""

    @property
    def observes(self) -> bool:
        """Whether there is anything that `observe` could find."""

    def observe(self, texts: Iterable[str], direction: Direction) -> list[Hit]:
        """Return what is found in *texts* that nobody is refused or struck for."""


class Open:
    """Lets everything pass."""

    observes = False

    def local(self, utterance: Utterance, look: Look = Look.ALL) -> Verdict:
        del utterance, look
        return CLEAN

    async def judge(self, utterance: Utterance) -> Verdict:
        del utterance
        return CLEAN

    def observe(self, texts: Iterable[str], direction: Direction) -> list[Hit]:
        del texts, direction
        return []


class Keywords:
    """Refuses by the *library* that is live when it is asked; *count* is told of each entry that was found."""

    def __init__(self, library: Callable[[], Library], count: Count = uncounted) -> None:
        self.library = library
        self.count = count
        self._seen: dict[str, tuple[Hit, ...]] = {}
        """What was found in texts around the newest words: prompts and history come again with every turn."""
        self._seen_by: Library | None = None

    def local(self, utterance: Utterance, look: Look = Look.ALL) -> Verdict:
        library = self.library()
        try:
            if look is Look.HIDDEN:
                hits = library.find_hidden(utterance.text)
            elif look is Look.DECODED:
                hits = library.find_decoded(utterance.text)
            else:
                hits = library.find(utterance.text, Direction.IN, hidden=look is Look.ALL)
        except Flood:
            return keyword_policy.FLOOD
        for hit in hits:
            self.count(Where.QUESTION, hit.entry)
        return keyword_policy.verdict(hits, judged=False)

    async def judge(self, utterance: Utterance) -> Verdict:
        del utterance
        return CLEAN

    @property
    def observes(self) -> bool:
        return bool(self.library().entries)

    def observe(self, texts: Iterable[str], direction: Direction) -> list[Hit]:
        library = self.library()
        where = Where.CONTEXT if direction is Direction.IN else Where.ANSWER
        found: list[Hit] = []
        for text in texts:
            with contextlib.suppress(Flood):
                found += self._find(library, text) if direction is Direction.IN else library.find(text, direction)
        for hit in found:
            self.count(where, hit.entry)
        return found

    def _find(self, library: Library, text: str) -> tuple[Hit, ...]:
        """Return what stands in *text*, hidden words aside, from memory if it was looked through lately."""
        if library is not self._seen_by or len(self._seen) >= MOST_SEEN:
            self._seen, self._seen_by = {}, library
        hits = self._seen.get(text)
        if hits is None:
            hits = library.find(text, Direction.IN, hidden=False)
            if len(text) <= LONGEST_SEEN and len(hits) <= MOST_HITS_SEEN:
                self._seen[text] = hits
        return hits
