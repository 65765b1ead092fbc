"""One growing text of an answer, such as its thoughts and what it says: what of it may leave. Sans-I/O.

Channels that a person reads in turn are one text, so that no word hides across their border. Each of them is also a
text by itself, which is all that a client shows of it: so that no word hides by a piece of another channel within.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from keywords.entry import Action, Entry
from keywords.folding import SQUEEZED
from keywords.library import Library
from keywords.live import Found, Scanner
from policies.json_text import Character
from policies.keyword_policy import Count, Where
from policies.spelling import MARKS, Json, Prose, Reader
from policies.verdict import Action as Then
from policies.verdict import Evidence, Verdict

STAGE = "keywords.out"
THOUGHTS = frozenset({"reasoning", "reasoning_content", "thinking"})
"""Names of the thoughts; some engines send the same text under two of them."""
JSON = ".arguments"
"""The end of the names of channels that carry JSON as their text."""
ANSWERS = frozenset({"content", "text"})
"""Channels that carry JSON where it was asked for."""
LONG = 64
"""Characters from which on a piece is worth a look as a whole before it is read one by one."""
_MARK = re.compile("[" + re.escape("".join(sorted(MARKS))) + "]")


class Step(NamedTuple):
    """One decision: *late* and then *release* may leave now; *cut*, where set, ends the answer behind them.

    *late* is what was held of other channels: (channel, text).
    """

    release: str
    cut: Verdict | None = None
    late: tuple[tuple[str, str], ...] = ()


NOTHING_HELD = Step("")


class _Held(NamedTuple):
    """A character that is held, its place in the whole text, and its place in its channel's."""

    character: Character
    place: int
    own: int


@dataclass(slots=True)
class _Mask:
    """A term to be masked: the places in the whole text of what is held of it."""

    entry_id: int
    sign: str
    places: tuple[int, ...]
    begun: bool = False
    """Whether a part of it has left, with the sign on where that is one for all of it."""


class _Channel:
    """One channel of a text: what is held of it, and what it says by itself."""

    __slots__ = ("free", "held", "left", "name", "own", "reader")

    def __init__(self, name: str, reader: Reader, own: Scanner | None) -> None:
        self.name = name
        self.reader = reader
        self.own = own
        """Reads the channel by itself; None: that would find and hold just what is found and held of the whole text."""
        self.held: list[_Held] = []
        self.left = False
        """Whether another channel went on."""
        self.free = 0
        """The place in the channel up to which it holds nothing any more by itself."""

    def hold(self, characters: Sequence[Character], place: int) -> str:
        """Hold *characters*, the first of which stands at *place* of the whole text; return what they say."""
        own = place if self.own is None else self.own.at
        self.held += [_Held(character, place + i, own + i) for i, character in enumerate(characters)]
        return "".join(character.says for character in characters)

    def let_go(self, live: int, masks: Sequence[_Mask]) -> str:
        """Return what may leave as it is spelled, with its masks on: what stands before *live* of the whole text."""
        held = self.held
        count = bisect_left(held, live, key=lambda one: one.place)
        if self.own is not None:
            count = min(count, bisect_left(held, max(self.own.live, self.free), key=lambda one: one.own))
        if not count:
            return ""
        at = {one.place: i for i, one in enumerate(held)} if masks else {}
        parts = [[at[place] for place in mask.places if place in at] for mask in masks]
        for part in reversed(parts):
            if part and part[0] < count <= part[-1]:  # its end may be the beginning of another term
                count = part[0]
        going, self.held = held[:count], held[count:]
        spelled = [one.character.spelled for one in going]
        for mask, part in zip(masks, parts, strict=True):
            if part and part[-1] < count:
                sign = "" if mask.begun and len(mask.sign) > 1 else mask.sign
                signs = self.reader.masked([going[i].character for i in part], sign)
                mask.begun = True
                for i, one in zip(part, signs, strict=True):
                    spelled[i] = one
        return "".join(spelled)


class Flow:
    """A growing text of one channel, or of several in turn: judged is what it says, and it leaves as it is spelled.

    What of it is held is the scanner's, as long as nothing is masked or spelled in escapes, and the channel by itself
    holds just that.
    """

    __slots__ = ("_as_json", "_channels", "_cut", "_is_plain", "_masks", "_now", "count", "library", "scanner")

    def __init__(self, library: Library, count: Count, *, as_json: bool) -> None:
        self.library = library
        self.count = count
        self.scanner = Scanner(library.words)
        """Reads the whole text, channels in turn."""
        self._as_json = as_json
        self._now: _Channel | None = None
        """The channel that was fed last."""
        self._channels: dict[str, _Channel] = {}
        self._is_plain = True
        """Whether the scanner alone knows what is held of the channel that was fed last."""
        self._masks: list[_Mask] = []
        self._cut: Verdict | None = None

    def feed(self, name: str, delta: str) -> Step:
        """Take the next piece of the channel *name*; return what may leave now."""
        now = self._now
        if self._cut is not None or not delta:
            return NOTHING_HELD
        if now is None:
            now = self._turn_to(name)
        if len(delta) > LONG:
            return _joined(self._feed_long(name, delta))
        if self._is_plain and name == now.name and "\\" not in delta and "&" not in delta and "<" not in delta:
            return self._feed_plain(now, delta)
        return self._feed_any(name, delta)

    def finish(self) -> Step:
        """End the text; what was still held of it is `late`."""
        if self._cut is not None or (self._is_plain and not self.scanner.held and len(self._channels) < 2):
            return NOTHING_HELD
        self._keep()
        for channel in self._channels.values():
            rest = channel.reader.finish()
            if any(one.spelled for one in rest):
                self._read(channel, rest)
        if self._cut is None:
            self._note(self.scanner.finish(), None)
            for channel in self._channels.values():
                if channel.own is not None:
                    self._note(channel.own.finish(), channel)
        return self._step("")

    def _feed_long(self, name: str, delta: str) -> Iterator[Step]:
        """Take a long piece bit by bit, so that the most of it is read as a whole."""
        at, marked = 0, "\\" in delta or "&" in delta or "<" in delta
        while at < len(delta) and self._cut is None:
            mark = _MARK.search(delta, at) if marked else None
            end = mark.start() if mark else len(delta)
            if self._is_plain and self._now is not None and name == self._now.name and at < end:
                end = min(end, at + LONG) if self.scanner.held else end
                yield self._feed_plain(self._now, delta[at:end])
            else:
                end = at + LONG
                yield self._feed_any(name, delta[at:end])
            at = end

    def _feed_plain(self, now: _Channel, delta: str) -> Step:
        """Take a piece without escapes, of the channel that was fed last, while the scanner knows all that is held."""
        scanner = self.scanner
        held, base = scanner.held, scanner.live
        found = _read_long(self.library, scanner, delta) if len(delta) > LONG and not held else scanner.feed(delta)
        if not found:
            now.reader.passed(scanner.passed)
            return Step(scanner.passed)
        self._is_plain = False
        now.hold(now.reader.feed(held + delta), base)
        self._note(found, None)
        return self._step(now.name)

    def _feed_any(self, name: str, delta: str) -> Step:
        self._keep()
        now = self._now
        if now is None or name != now.name:
            now = self._turn_to(name)
        if self._cut is None:
            self._read(now, now.reader.feed(delta))
        return self._step(name)

    def _keep(self) -> None:
        """Take over what the scanner alone knew."""
        if self._is_plain:
            self._is_plain = False
            if self._now is not None:
                self._now.hold(self._now.reader.feed(self.scanner.held), self.scanner.live)

    def _read(self, channel: _Channel, characters: list[Character]) -> None:
        """Read *characters* of a channel, in the whole text and in the channel by itself."""
        if not characters or self._cut is not None:
            return
        says = channel.hold(characters, self.scanner.at)
        found = self.scanner.feed(says)
        own = NONE if channel.own is None else channel.own.feed(says)
        self._note(found, None)
        self._note(own, channel)

    def _turn_to(self, name: str) -> _Channel:
        """Leave the channel that was fed last for that of *name*."""
        left = self._now
        if left is not None:
            if left.own is None:
                left.own = self.scanner.copy()
            if left.name in THOUGHTS and not left.left and isinstance(left.reader, Prose):
                self._let_thoughts_go(left, left.own, left.reader)
            left.left = True
        now = self._channels.get(name)
        if now is None:
            is_json = name.endswith(JSON) or (self._as_json and name in ANSWERS)
            words = self.library.words
            own = None if left is None else Scanner(words)
            now = self._channels[name] = _Channel(name, (Json if is_json else Prose)(words), own)
        self._now = now
        return now

    def _let_thoughts_go(self, left: _Channel, own: Scanner, reader: Prose) -> None:
        """Hold nothing of the thoughts by themselves any more, since mostly they are over with the first answer.

        What is held of any other channel waits until that goes on or ends: a client that shows thoughts and answer one
        behind the other would have to open the thoughts once more for their last character. Where they do go on, the
        word that they had begun is cut before it is whole.
        """
        rest = reader.leave()
        over, count = own.copy(), len(left.held)
        says = left.hold(rest, self.scanner.at)
        self._note(self.scanner.feed(says) if says else NONE, None)
        self._note([*over.feed(says), *over.finish()], left)
        if self._cut is not None:
            left.own = over
            return
        left.free = own.at
        left.held[count:] = [one._replace(own=own.at - 1) for one in left.held[count:]]

    def _note(self, found: Iterable[Found], channel: _Channel | None) -> None:
        """Count what was *found* in a channel by itself, None: in the whole text, and take note of what becomes of it.

        Mostly both find a term: it counts once.
        """
        for one in found:
            entry = one.term.entry
            places = tuple(self._places(one, channel))
            if self._is_known(entry, places, channel):
                continue
            self.count(Where.ANSWER, entry)
            if entry.action is Action.MASK:
                self._masks.append(_Mask(entry.id, entry.mask, places))
            elif entry.action is Action.BLOCK and self._cut is None:
                evidence = Evidence(STAGE, str(entry.id), one.start, one.end)
                self._cut = Verdict(Then.REFUSE, entry.risk, (evidence,))
        if len(self._masks) > 1:
            self._masks.sort(key=lambda mask: (mask.places[0], mask.places[-1], mask.entry_id))

    def _is_known(self, entry: Entry, places: tuple[int, ...], channel: _Channel | None) -> bool:
        if entry.action is Action.BLOCK:
            return channel is not None and self._cut is not None
        return not places or any(mask.entry_id == entry.id and mask.places == places for mask in self._masks)

    def _places(self, found: Found, channel: _Channel | None) -> Iterator[int]:
        """Yield the places in the whole text of what is held of a term."""
        if channel is None or channel.own is None:
            yield from range(found.start, found.end)
        else:
            yield from (one.place for one in channel.held if found.start <= one.own < found.end)

    def _step(self, name: str) -> Step:
        """Let go what nothing stands against: of the channel *name* now, of others late."""
        live, release, late = self.scanner.live, "", []
        for channel in self._channels.values():
            text = channel.let_go(live, self._masks)
            if channel.name == name:
                release = text
            elif text:
                late.append((channel.name, text))
        if self._masks and (release or late):
            held = {one.place for channel in self._channels.values() for one in channel.held}
            self._masks = [mask for mask in self._masks if not held.isdisjoint(mask.places)]
        self._settle()
        return Step(release, self._cut, tuple(late))

    def _settle(self) -> None:
        """Leave what is held to the scanner, where that knows all of it."""
        now = self._now
        if now is None or self._masks or any(channel.reader.begun for channel in self._channels.values()):
            return  # what has begun elsewhere will stand behind this in the whole text, and not in its channel
        if now.own is not None:
            if now.held or not now.own.is_as(self.scanner):
                return
            now.own, now.free = None, 0
        held = [one.character for one in now.held]
        if all(one.says == one.spelled and one.says not in MARKS for one in held):
            now.reader.rewind(held)
            now.held, self._is_plain = [], True


NONE: list[Found] = []


def _joined(steps: Iterable[Step]) -> Step:
    """Return one step for several of one channel."""
    release, cut = "", None
    late: list[tuple[str, str]] = []
    for step in steps:
        release += step.release
        late += step.late
        cut = step.cut
    return Step(release, cut, tuple(late))


def _read_long(library: Library, scanner: Scanner, text: str) -> list[Found]:
    """Read on in a long *text*, nothing being held; as a whole, where nothing stands in it."""
    if not library.is_clear(text):
        return scanner.feed(text)
    return scanner.feed_clear(text, library.reading(text).folded(SQUEEZED))
