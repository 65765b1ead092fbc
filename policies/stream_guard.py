"""What of an answer may leave now, and where it is cut. Sans-I/O; one guard a turn.

Text that may be the beginning of a forbidden word is held back until it is one or cannot be one any more; all other
text leaves at once. There is no fixed window: with nothing begun, nothing is held.
"""

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from keywords.library import Library
from policies.flow import NOTHING_HELD, THOUGHTS, Flow, Step
from policies.keyword_policy import Count, uncounted

PROSE = "prose"
SPECIAL = re.compile(r"<[^<>\s]{1,64}>")
"""A token that ends an answer and is no part of it: vLLM has log probabilities for it as well."""


class StreamGuard(Protocol):
    """Judges an answer while it grows.

    A *choice* is the index of one of the n answers. A *channel* is where its text stands in a message: ``content``,
    ``reasoning_content``, ``tool_calls.0.arguments`` … What is held back is missing from `release` and comes with a
    later step, at the latest with `finish`.
    """

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        """Take the next piece of a channel's text."""

    def finish(self, choice: int) -> Step:
        """End a choice; what was still held of it is `late`."""

    def allows(self, text: str, chosen: str, others: Sequence[str]) -> bool:
        """Return whether log probabilities that spell *chosen* and name *others* may stand beside *text*.

        Engines send them also for text that they hold back themselves, to see whether a stop word comes of it.
        """

    def harmless(self, token: str, *, half: bool = False) -> bool:
        """Return whether *token*, which might have been said instead, neither is a word nor begins one.

        Put together such tokens spell no word, whichever of each place are read. *half*: it has half a character, which
        with those of other places may be a whole one.
        """


class Through:
    """Holds nothing and cuts nothing."""

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        del choice, channel
        return Step(delta)

    def finish(self, choice: int) -> Step:
        del choice
        return NOTHING_HELD

    def allows(self, text: str, chosen: str, others: Sequence[str]) -> bool:
        del text, chosen, others
        return True

    def harmless(self, token: str, *, half: bool = False) -> bool:
        del token, half
        return True


class KeywordGuard:
    """Cuts at the library's `block` entries and replaces its `mask` entries."""

    __slots__ = ("_flows", "_thoughts", "as_json", "count", "library")

    def __init__(self, library: Library, count: Count = uncounted, *, as_json: bool = False) -> None:
        self.library = library
        self.count = count
        self.as_json = as_json
        """Whether the answer itself was asked for as JSON."""
        self._flows: dict[tuple[int, str], Flow] = {}
        self._thoughts: dict[int, tuple[str, str]] = {}
        """Of each choice the first name of its thoughts, and the first piece under it."""

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        flow = self._flows.get((choice, channel))
        if flow is None:
            if not delta:
                return NOTHING_HELD
            flow = self._flows[choice, channel] = self._flow(choice, channel, delta)
        return flow.feed(channel, delta)

    def finish(self, choice: int) -> Step:
        late: list[tuple[str, str]] = []
        for flow in dict.fromkeys(flow for (of, _), flow in self._flows.items() if of == choice):
            step = flow.finish()
            late += step.late
            if step.cut is not None:
                return Step("", step.cut, tuple(late))
        return Step("", None, tuple(late)) if late else NOTHING_HELD

    def allows(self, text: str, chosen: str, others: Sequence[str]) -> bool:
        end = chosen[len(text) :] if chosen.startswith(text) else "\0"
        return (not end or SPECIAL.fullmatch(end) is not None) and self.library.is_clear("\n".join((end, *others)))

    def harmless(self, token: str, *, half: bool = False) -> bool:
        return not half and Flow(self.library, uncounted, as_json=False).feed("content", token) == Step(token)

    def _flow(self, choice: int, channel: str, delta: str) -> Flow:
        """Return the flow that *channel*, which begins with *delta*, belongs to.

        What a person reads as one text is one flow, thoughts and answer in turn. Tool calls are flows of their own, and
        so is a second name for the thoughts under which they come once more, piece by piece.
        """
        own = "." in channel
        if channel in THOUGHTS:
            first, began = self._thoughts.setdefault(choice, (channel, delta))
            own = channel != first and delta == began
        flow = Flow(self.library, self.count, as_json=self.as_json)
        return self._flows.setdefault((choice, channel if own else PROSE), flow)


class Guards(Protocol):
    """Makes the guard of a turn."""

    def __call__(self, *, as_json: bool = False) -> StreamGuard:
        """Return a new guard; *as_json*: the answer was asked for as JSON."""


def keyword_guards(library: Callable[[], Library], count: Count = uncounted) -> Guards:
    """Return what makes the guard of a turn, by the *library* that is live when the turn begins."""

    def guard(*, as_json: bool = False) -> StreamGuard:
        now = library()
        return KeywordGuard(now, count, as_json=as_json) if now.words.any else Through()

    return guard
