"""Channels that take turns, judged by the plainest reading of the rules: slow, and independent."""

from collections.abc import Sequence

from keywords.entry import Action, Entry
from keywords.library import Library
from policies.flow import THOUGHTS, Step
from policies.stream_guard import KeywordGuard
from tests.keywords import oracle

Deltas = Sequence[tuple[str, str]]
"""Channel and text of each piece, as they come."""
SIGN = "*"


def said(library: Library, deltas: Deltas) -> tuple[dict[str, str], bool]:
    """Return what leaves of each channel, and whether the answer is cut."""
    guard, out = KeywordGuard(library), {channel: "" for channel, _ in deltas}
    for channel, delta in deltas:
        step = guard.feed(0, channel, delta)
        _add(step, channel, out)
        if step.cut is not None:
            return out, True
    step = guard.finish(0)
    _add(step, "", out)
    return out, step.cut is not None


def _add(step: Step, channel: str, out: dict[str, str]) -> None:
    for by, text in (*step.late, (channel, step.release)):
        if text:
            out[by] += text


def difference(entries: Sequence[Entry], library: Library, deltas: Deltas) -> str | None:
    """Return what is wrong with what leaves of *deltas*; each mask is one `SIGN` for a character."""
    blocks = [entry for entry in entries if entry.action is Action.BLOCK]
    masks = [entry for entry in entries if entry.action is Action.MASK]
    texts = _texts(deltas)
    cut = any(oracle.places(blocks, text) for _, text in texts)
    out, was_cut = said(library, deltas)
    if was_cut != cut:
        return f"{deltas}: cut {was_cut}, not {cut}"
    for channel, left in out.items():
        text, must, may = _masked(masks, texts, channel)
        fits = [
            one == SIGN if i in must else one == text[i] or (i in may and one == SIGN) for i, one in enumerate(left)
        ]
        most = _most(blocks, texts, channel)
        whole = any(end <= len(left) for _, _, end in oracle.places(blocks, text))
        if not all(fits) or whole or len(left) > most or (not cut and len(left) < len(text)):
            return f"{deltas}: {left!r} leaves of {channel}: {text!r}, masks {must} {may}, at most {most}"
    return None


Text = tuple[list[tuple[str, int]], str]
"""Of each character its channel and its place in that, and the text."""


def _texts(deltas: Deltas) -> list[Text]:
    """Return what is judged: all in turn, each channel by itself, and thoughts up to where they are first left."""
    places: list[tuple[str, int]] = []
    texts: dict[str, str] = {}
    first: dict[str, str] = {}
    before = ""
    for channel, delta in deltas:
        if delta and before not in ("", channel) and before in THOUGHTS:
            first.setdefault(before, texts[before])
        so_far = texts.get(channel, "")
        places += [(channel, len(so_far) + i) for i in range(len(delta))]
        texts[channel] = so_far + delta
        before = channel if delta else before
    whole = "".join(delta for _, delta in deltas)
    own = [
        ([(channel, i) for i in range(len(text))], text) for group in (texts, first) for channel, text in group.items()
    ]
    return [(places, whole), *own]


def _masked(masks: Sequence[Entry], texts: Sequence[Text], channel: str) -> tuple[str, set[int], set[int]]:
    """Return a channel's text, which of its characters must be masked, and which may be.

    Of a word that thoughts had begun when they were left, only what comes when they go on must be.
    """
    alone = [text for places, text in texts[1:] if places[0][0] == channel]
    must: set[int] = set()
    may: set[int] = set()
    for places, whole in texts:
        for _, start, end in oracle.places(masks, whole):
            found = [place for by, place in places[start:end] if by == channel]
            late = whole == alone[0] and channel in THOUGHTS and len(alone) > 1 and end > len(alone[1]) > start
            may.update(place for place in found if late)
            must.update(place for place in found if not late or place >= len(alone[1]))
    return alone[0], must, may


def _most(blocks: Sequence[Entry], texts: Sequence[Text], channel: str) -> int:
    """Return how many of a channel's characters may leave: of thoughts that were left, a word's beginning may."""
    most = sum(by == channel for by, _ in texts[0][0])
    for places, whole in texts if channel not in THOUGHTS else texts[:1]:
        for _, start, _ in oracle.places(blocks, whole):
            most = min(most, *(place for by, place in places[start:] if by == channel), most)
    return most
