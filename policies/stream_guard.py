"""What of an answer may leave now, and where it is cut. Sans-I/O; one guard a turn.

Text that may be the beginning of a forbidden word is held back until it is one or cannot be one any more; all other
text leaves at once. There is no fixed window: with nothing begun, nothing is held.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, Protocol

from keywords.entry import Action
from keywords.folding import SQUEEZED
from keywords.library import Library
from keywords.live import Found, Scanner
from policies.json_text import Character
from policies.keyword_policy import Count, Where, uncounted
from policies.spelling import MARKS, Json, Prose, Reader
from policies.verdict import Action as Then
from policies.verdict import Evidence, Verdict

STAGE = "keywords.out"
SIBLINGS = frozenset({"reasoning", "reasoning_content", "thinking"})
"""Names of one channel; some engines send the same text under two of them."""
PROSE = "prose"
JSON = ".arguments"
"""The end of the names of channels that carry JSON as their text."""
ANSWERS = frozenset({"content", "text"})
"""Channels that carry it where it was asked for."""
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


NOTHING_HELD = Step("")


class KeywordGuard:
    """Cuts at the library's `block` entries and replaces its `mask` entries."""

    __slots__ = ("_flows", "_reasoning", "as_json", "count", "library")

    def __init__(self, library: Library, count: Count = uncounted, *, as_json: bool = False) -> None:
        self.library = library
        self.count = count
        self.as_json = as_json
        """Whether the answer itself was asked for as JSON."""
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

    def harmless(self, token: str, *, half: bool = False) -> bool:
        return not half and _Flow(self.library, uncounted, as_json=False).feed("content", token) == Step(token)

    def _flow(self, choice: int, channel: str) -> "_Flow":
        """Return the flow that *channel* belongs to.

        What a person reads as one text is one flow, thoughts and answer in turn, so that no word hides across their
        border. Tool calls are flows of their own, and so is a second name for the thoughts.
        """
        own = "." in channel
        if channel in SIBLINGS:
            own = channel != self._reasoning.setdefault(choice, channel)
        flow = _Flow(self.library, self.count, as_json=self.as_json)
        return self._flows.setdefault((choice, channel if own else PROSE), flow)


class _Flow:
    """One growing text: judged is what it says, and it leaves as it is spelled.

    What of it is held is the scanner's, as long as nothing is masked, spelled in escapes, or of two channels.
    """

    __slots__ = (
        "_as_json",
        "_base",
        "_by",
        "_held",
        "_is_plain",
        "_masks",
        "_reader",
        "_readers",
        "count",
        "library",
        "scanner",
    )

    def __init__(self, library: Library, count: Count, *, as_json: bool) -> None:
        self.library = library
        self.count = count
        self.scanner = Scanner(library.words)
        self._as_json = as_json
        self._by = ""
        """The channel that was fed last."""
        self._reader: Reader = Prose()
        """Of that channel. Has read what has left; of what is held, all where not `_is_plain`."""
        self._readers: dict[str, Reader] = {}
        self._is_plain = True
        self._held: list[tuple[str, Character]] = []
        """Each with its channel."""
        self._base = 0
        """The place of the first character of `_held` in what the whole text says."""
        self._masks: list[Found] = []

    def feed(self, channel: str, delta: str) -> Step:
        scanner = self.scanner
        if scanner.ended:
            return NOTHING_HELD
        held, base = scanner.held, scanner.live
        if channel != self._by and self._is_plain and not held:
            self._turn_to(channel)
        if self._is_plain and channel == self._by and "\\" not in delta and "&" not in delta and "<" not in delta:
            found = _read_long(self.library, scanner, delta) if len(delta) > LONG and not held else scanner.feed(delta)
            if not found:
                self._reader.passed(scanner.passed)
                return Step(scanner.passed)
            self._keep(held, base)
            self._read(self._reader.feed(delta))
            return self._step(channel, found)
        self._keep(held, base)
        says = ""
        if channel != self._by:
            says = self._read(self._reader.finish())  # an escape ends where its channel does
            self._turn_to(channel)
        return self._step(channel, scanner.feed(says + self._read(self._reader.feed(delta))))

    def finish(self) -> Step:
        scanner = self.scanner
        if scanner.ended or (self._is_plain and not scanner.held):
            return NOTHING_HELD
        self._keep(scanner.held, scanner.live)
        _, cut, late = self._step("", scanner.feed(self._read(self._reader.finish())))
        if cut is None:
            self._keep(scanner.held, scanner.live)
            _, cut, more = self._step("", scanner.finish())
            late += more
        return Step("", cut, late)

    def _turn_to(self, channel: str) -> None:
        self._by = channel
        reader = self._readers.get(channel)
        if reader is None:
            is_json = channel.endswith(JSON) or (self._as_json and channel in ANSWERS)
            reader = self._readers[channel] = (Json if is_json else Prose)(self.library.words)
        self._reader = reader

    def _keep(self, held: str, base: int) -> None:
        """Take over what the scanner alone knew."""
        if self._is_plain:
            self._is_plain, self._base = False, base
            self._read(self._reader.feed(held))

    def _read(self, characters: list[Character]) -> str:
        """Hold *characters*; return what they say."""
        self._held += [(self._by, character) for character in characters]
        return "".join(character.says for character in characters)

    def _step(self, channel: str, found: list[Found]) -> Step:
        """Let go what nothing stands against, with its masks on: of *channel* now, of others late."""
        cut = _noted(found, self.count, self._masks)
        live = _unmasked(self.scanner.live, self._masks)
        going, self._held = self._held[: live - self._base], self._held[live - self._base :]
        spelled = [character.spelled for _, character in going]
        for mask in self._masks:
            if mask.end <= live:
                place = slice(mask.start - self._base, mask.end - self._base)
                by = going[place.start][0]
                spelled[place] = self._readers[by].masked([one for _, one in going[place]], mask.term.entry.mask)
        self._base, self._masks = live, [mask for mask in self._masks if mask.end > live]
        self._settle()
        release, late = "", []
        for by, pieces in groupby(zip((by for by, _ in going), spelled, strict=True), key=itemgetter(0)):
            text = "".join(piece for _, piece in pieces)
            if by == channel:
                release += text
            elif text:
                late.append((by, text))
        return Step(release, cut, tuple(late))

    def _settle(self) -> None:
        """Leave what is held to the scanner, where that knows all of it."""
        if self._masks or self._reader.begun:
            return
        for by, one in self._held:
            if by != self._by or one.says != one.spelled or one.says in MARKS:
                return
        self._reader.rewind([one for _, one in self._held])
        self._held, self._is_plain = [], True


def _read_long(library: Library, scanner: Scanner, text: str) -> list[Found]:
    """Read on in a long *text*, nothing being held; as a whole, where nothing stands in it."""
    if not library.is_clear(text):
        return scanner.feed(text)
    return scanner.feed_clear(text, library.reading(text).folded(SQUEEZED))


def _noted(found: list[Found], count: Count, masks: list[Found]) -> Verdict | None:
    """Count what was found, add its masks to *masks*, and return the verdict where something of it blocks."""
    for one in found:
        count(Where.ANSWER, one.term.entry)
    masks += [one for one in found if one.term.entry.action is Action.MASK]
    masks.sort(key=lambda one: (one.start, one.end, one.term.entry.id))
    cut = next((one for one in found if one.term.entry.action is Action.BLOCK), None)
    if cut is None:
        return None
    evidence = Evidence(STAGE, str(cut.term.entry.id), cut.start, cut.end)
    return Verdict(Then.REFUSE, cut.term.entry.risk, (evidence,))


def _unmasked(live: int, masks: list[Found]) -> int:
    """Return up to where text may leave: the end of a masked term may be the beginning of another term."""
    for mask in reversed(masks):
        if mask.start < live < mask.end:
            live = mask.start
    return live


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
