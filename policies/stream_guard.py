"""What of an answer may leave now, and where it is cut. Sans-I/O; one guard a turn.

Text that may be the beginning of a forbidden word is held back until it is one or cannot be one any more; all other
text leaves at once. There is no fixed window: with nothing begun, nothing is held.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from keywords.entry import Action
from keywords.folding import SQUEEZED
from keywords.library import Library
from keywords.live import Found, Scanner
from policies.keyword_policy import Count, Where, uncounted
from policies.verdict import Action as Then
from policies.verdict import Evidence, Verdict

STAGE = "keywords.out"
SIBLINGS = frozenset({"reasoning", "reasoning_content"})
"""Two names of one channel; some engines send the same text under both."""
PROSE = "prose"
LONG = 64
"""Characters from which on a piece is worth a look as a whole before it is read one by one."""


class Step(NamedTuple):
    """One decision: *late* and then *release* may leave now; *cut*, where set, ends the answer behind them.

    *late* is what was held of other channels: (channel, text).
    """

    release: str
    cut: Verdict | None = None
    late: tuple[tuple[str, str], ...] = ()


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


NOTHING_HELD = Step("")


class KeywordGuard:
    """Cuts at the library's `block` entries and replaces its `mask` entries."""

    __slots__ = ("_flows", "_reasoning", "count", "library")

    def __init__(self, library: Library, count: Count = uncounted) -> None:
        self.library = library
        self.count = count
        self._flows: dict[tuple[int, str], _Flow] = {}
        self._reasoning: dict[int, str] = {}

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        flow = self._flows.get((choice, channel))
        if flow is None:
            flow = self._flows[choice, channel] = self._flow(choice, channel)
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
        return text == chosen and self.library.is_clear("\n".join(others))

    def _flow(self, choice: int, channel: str) -> "_Flow":
        """Return the flow that *channel* belongs to.

        What a person reads as one text is one flow, thoughts and answer in turn, so that no word hides across their
        border. Tool calls are flows of their own, and so is a second name for the thoughts.
        """
        own = "." in channel
        if channel in SIBLINGS:
            own = channel != self._reasoning.setdefault(choice, channel)
        return self._flows.setdefault((choice, channel if own else PROSE), _Flow(self.library, self.count))


class _Flow:
    """One growing text. What of it is held is the scanner's; more is kept here only while masks or channels mix."""

    __slots__ = ("_base", "_by", "_held", "_masks", "_parts", "count", "library", "scanner")

    def __init__(self, library: Library, count: Count) -> None:
        self.library = library
        self.count = count
        self.scanner = Scanner(library.words)
        self._by = ""
        """The channel that was fed last."""
        self._parts: list[tuple[str, int]] = []
        """Channel and length of each piece of `_held`; empty: the scanner alone knows what is held, all of `_by`."""
        self._held = ""
        self._base = 0
        """The place of the first character of `_held` in the whole text."""
        self._masks: list[Found] = []

    def feed(self, channel: str, delta: str) -> Step:
        scanner = self.scanner
        held, base = scanner.held, scanner.live
        if scanner.ended:
            return NOTHING_HELD
        if len(delta) > LONG and not held and self.library.is_clear(delta):
            found = scanner.feed_clear(delta, self.library.reading(delta).folded(SQUEEZED))
        else:
            found = scanner.feed(delta)
        if not found and not self._parts and (channel == self._by or not held):
            self._by = channel
            return Step(scanner.passed)
        self._keep(held, base)
        self._by = channel
        self._held += delta
        self._parts.append((channel, len(delta)))
        return self._step(channel, found)

    def finish(self) -> Step:
        scanner = self.scanner
        if scanner.ended or not (scanner.held or self._parts):
            return NOTHING_HELD
        self._keep(scanner.held, scanner.live)
        return self._step("", scanner.finish())

    def _keep(self, held: str, base: int) -> None:
        """Take over what the scanner alone knew."""
        if not self._parts:
            self._held, self._base, self._parts = held, base, [(self._by, len(held))]

    def _step(self, channel: str, found: list[Found]) -> Step:
        """Let go what nothing stands against, with its masks on."""
        for one in found:
            self.count(Where.ANSWER, one.term.entry)
        cut = next((one for one in found if one.term.entry.action is Action.BLOCK), None)
        self._masks += [one for one in found if one.term.entry.action is Action.MASK]
        self._masks.sort(key=lambda one: (one.start, one.end, one.term.entry.id))
        live = self.scanner.live
        for mask in reversed(self._masks):
            if mask.start < live < mask.end:  # its end may be the beginning of another term
                live = mask.start
        release, late = self._let_go(channel, live)
        if not self._masks and len(self._parts) <= 1:
            self._parts = []
        if cut is None:
            return Step(release, None, late)
        entry = cut.term.entry
        evidence = Evidence(STAGE, str(entry.id), cut.start, cut.end)
        return Step(release, Verdict(Then.REFUSE, entry.risk, (evidence,)), late)

    def _let_go(self, channel: str, live: int) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return what leaves before *live* by *channel*, and by the channels before it."""
        release, late = "", []
        begin = self._base
        for number, (by, length) in enumerate(self._parts):
            end = min(begin + length, live)
            text = self._masked(begin, end)
            if by == channel:
                release += text
            elif text:
                late.append((by, text))
            if begin + length > live:
                self._parts = [(by, begin + length - end), *self._parts[number + 1 :]]
                break
            begin = end
        else:
            self._parts = []
        self._held = self._held[live - self._base :]
        self._base = live
        self._masks = [mask for mask in self._masks if mask.end > live]
        return release, tuple(late)

    def _masked(self, begin: int, end: int) -> str:
        """Return the held text from *begin* to before *end*, masked."""
        text = self._held[begin - self._base : end - self._base]
        if not self._masks:
            return text
        characters = list(text)
        for mask in self._masks:
            sign = mask.term.entry.mask
            for place in range(max(mask.start, begin), min(mask.end, end)):
                characters[place - begin] = sign if len(sign) == 1 or place == mask.start else ""
        return "".join(characters)


def keyword_guards(library: Callable[[], Library], count: Count = uncounted) -> Callable[[], StreamGuard]:
    """Return what makes the guard of a turn, by the *library* that is live when the turn begins."""

    def guard() -> StreamGuard:
        now = library()
        return KeywordGuard(now, count) if now.words.any else Through()

    return guard
