"""The policy over texts of any length: a slice at a time, so that one large text does not hold up every other turn."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace

from keywords.decoding import steps
from keywords.entry import Direction
from keywords.library import Hit
from policies.input_policy import InputPolicy, Look
from policies.utterance import Utterance
from policies.verdict import CLEAN, Action, Verdict

SLICE = 20_000
"""Characters that are looked at in one go, a few milliseconds."""
OVERLAP = 2_000
"""Of two slices: what is hidden and longer, or has more put between its characters, may be cut; no payload is."""
BORDER = 300
"""Characters of a slice's end; shorter than the overlap by far, longer than a term and what excuses it."""
WIDE = 200_000
"""Characters of a text as it is, looked at in one go: some 20 milliseconds, and few texts are longer."""
_RANK = {Action.PASS: 0, Action.JUDGE: 1, Action.REFUSE: 2}


def slices(text: str, width: int = SLICE, overlap: int = OVERLAP) -> Iterator[tuple[int, str]]:
    """Yield *text* in pieces that overlap, each with its place."""
    for start in range(0, max(len(text) - overlap, 1), width - overlap):
        yield start, text[start : start + width]


async def judged(policy: InputPolicy, utterance: Utterance) -> Verdict:
    """Return the verdict of the stages inside this process on what a person has just said."""
    if len(utterance.text) <= SLICE:
        return policy.local(utterance)
    worst = CLEAN
    async for verdict in verdicts(policy, utterance):
        if verdict.refused:
            return verdict
        if _RANK[verdict.action] > _RANK[worst.action] or not worst.evidence:
            worst = verdict
    return worst


async def verdicts(policy: InputPolicy, utterance: Utterance) -> AsyncIterator[Verdict]:
    """Yield what is said of each part of a text: as it is, in other readings, and what is encoded in it.

    Payloads are looked for in the whole text and not in slices of it, of which none would begin where a payload does.
    """
    if len(utterance.text) <= SLICE:
        yield policy.local(utterance)
        return
    for look, width, overlap in ((Look.PLAIN, WIDE, WIDE // 10), (Look.HIDDEN, SLICE, OVERLAP)):
        async for verdict in _parts(policy, utterance, look, width, overlap):
            yield verdict
    for _, plain in steps(utterance.text):
        await asyncio.sleep(0)
        if plain:
            async for verdict in _parts(policy, replace(utterance, text=plain), Look.DECODED, SLICE, OVERLAP):
                everywhere = (replace(found, start=0, end=len(utterance.text)) for found in verdict.evidence)
                yield replace(verdict, evidence=tuple(dict.fromkeys(everywhere)))


async def _parts(
    policy: InputPolicy, utterance: Utterance, look: Look, width: int, overlap: int
) -> AsyncIterator[Verdict]:
    """Yield what is said of each slice, where it does not rest on the slice's border alone."""
    for start, text in slices(utterance.text, width, overlap):
        found = policy.local(replace(utterance, text=text), look)
        ends = start + len(text) == len(utterance.text)
        if not (found.refused and _is_of_border(found, len(text), begins=start == 0, ends=ends)):
            yield _moved(found, start)
        await asyncio.sleep(0)


async def observed(policy: InputPolicy, texts: Sequence[str], direction: Direction) -> list[Hit]:
    """Return what is found in *texts* that nobody is refused or struck for."""
    if sum(map(len, texts)) <= SLICE:
        return policy.observe(texts, direction)
    hits: list[Hit] = []
    looked_at = 0
    for text in texts:
        for start, piece in slices(text):
            found = policy.observe((piece,), direction)
            hits += [replace(hit, start=hit.start + start, end=hit.end + start) for hit in found]
            looked_at += len(piece)
            if looked_at > SLICE:
                looked_at = 0
                await asyncio.sleep(0)
    return hits


def _is_of_border(verdict: Verdict, length: int, *, begins: bool, ends: bool) -> bool:
    """Return whether all that a slice was refused for touches one of its ends that is none of the text.

    There what excuses it may be cut off; the slice beside, which overlaps, sees it in its surroundings.
    """
    return bool(verdict.evidence) and all(
        0 < found.end - found.start < length  # neither a flood nor what stands for the whole
        and ((not begins and found.start < BORDER) or (not ends and found.end > length - BORDER))
        for found in verdict.evidence
    )


def _moved(verdict: Verdict, by: int) -> Verdict:
    evidence = tuple(replace(found, start=found.start + by, end=found.end + by) for found in verdict.evidence)
    return replace(verdict, evidence=evidence)
