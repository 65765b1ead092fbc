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
from policies.json_text import Character, JsonText, masked
from policies.keyword_policy import Count, Where, uncounted
from policies.verdict import Action as Then
from policies.verdict import Evidence, Verdict

STAGE = "keywords.out"
SIBLINGS = frozenset({"reasoning", "reasoning_content", "thinking"})
"""Names of one channel; some engines send the same text under two of them."""
PROSE = "prose"
JSON = ".arguments"
"""The end of the names of channels that carry JSON as their text."""
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
        self._flows: dict[tuple[int, str], _Flow | _Arguments] = {}
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

    def _flow(self, choice: int, channel: str) -> "_Flow | _Arguments":
        """Return the flow that *channel* belongs to.

        What a person reads as one text is one flow, thoughts and answer in turn, so that no word hides across their
        border. Tool calls are flows of their own, and so is a second name for the thoughts.
        """
        if channel.endswith(JSON):
            return _Arguments(self.library, self.count, channel)
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
        found = _read_long(self.library, scanner, delta) if len(delta) > LONG and not held else scanner.feed(delta)
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
        cut = _noted(found, self.count, self._masks)
        release, late = self._let_go(channel, _unmasked(self.scanner.live, self._masks))
        if not self._masks and len(self._parts) <= 1:
            self._parts = []
        return Step(release, cut, late)

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


class _Arguments:
    """The growing arguments of one tool call, which are JSON: judged is what they say, and it leaves as it is spelled.

    As long as nothing is spelled in escapes this is the text itself, and the scanner alone knows what is held.
    """

    __slots__ = ("_base", "_channel", "_held", "_is_plain", "_masks", "_text", "count", "library", "scanner")

    def __init__(self, library: Library, count: Count, channel: str) -> None:
        self.library = library
        self.count = count
        self.scanner = Scanner(library.words)
        self._channel = channel
        self._text = JsonText()
        """Has read what has left; of what is held, all where not `_is_plain`."""
        self._is_plain = True
        self._held: list[Character] = []
        self._base = 0
        """The place of the first character of `_held` in what the arguments say."""
        self._masks: list[Found] = []

    def feed(self, channel: str, delta: str) -> Step:
        del channel
        scanner = self.scanner
        if scanner.ended:
            return NOTHING_HELD
        held, base = scanner.held, scanner.live
        if self._is_plain and "\\" not in delta:
            found = _read_long(self.library, scanner, delta) if len(delta) > LONG and not held else scanner.feed(delta)
            if not found:
                self._passed(scanner.passed)
                return Step(scanner.passed)
            self._keep(held + delta, base)
            return self._step(found)
        self._keep(held, base)
        return self._read(self._text.feed(delta))

    def finish(self) -> Step:
        scanner = self.scanner
        if scanner.ended or (self._is_plain and not scanner.held):
            return NOTHING_HELD
        self._keep(scanner.held, scanner.live)
        step = self._read(self._text.finish())
        said, cut = step.release, step.cut
        if cut is None:
            self._keep(scanner.held, scanner.live)
            step = self._step(scanner.finish())
            said, cut = said + step.release, step.cut
        return Step("", cut, ((self._channel, said),) if said else ())

    def _keep(self, held: str, base: int) -> None:
        """Take over what the scanner alone knew."""
        if self._is_plain:
            self._held, self._base, self._is_plain = self._text.feed(held), base, False

    def _passed(self, text: str) -> None:
        if '"' in text and text.count('"') % 2:
            self._text.inside = not self._text.inside

    def _read(self, characters: list[Character]) -> Step:
        self._held += characters
        return self._step(self.scanner.feed("".join(character.says for character in characters)))

    def _step(self, found: list[Found]) -> Step:
        """Let go what nothing stands against, with its masks on."""
        cut = _noted(found, self.count, self._masks)
        live = _unmasked(self.scanner.live, self._masks)
        going, self._held = self._held[: live - self._base], self._held[live - self._base :]
        spelled = [character.spelled for character in going]
        for mask in self._masks:
            if mask.end <= live:
                place = slice(mask.start - self._base, mask.end - self._base)
                spelled[place] = masked(going[place], mask.term.entry.mask)
        self._base, self._masks = live, [mask for mask in self._masks if mask.end > live]
        if not (self._masks or self._text.begun) and all(one.says == one.spelled for one in self._held):
            if self._held:
                self._text.inside = self._held[0].inside
            self._held, self._is_plain = [], True
        return Step("".join(spelled), cut)


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


def keyword_guards(library: Callable[[], Library], count: Count = uncounted) -> Callable[[], StreamGuard]:
    """Return what makes the guard of a turn, by the *library* that is live when the turn begins."""

    def guard() -> StreamGuard:
        now = library()
        return KeywordGuard(now, count) if now.words.any else Through()

    return guard
