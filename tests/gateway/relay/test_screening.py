"""Texts of any length, a slice at a time."""

import asyncio
import base64

import pytest

from gateway.relay.screening import SLICE, judged, observed, slices
from keywords.entry import Action, Direction, Entry
from keywords.library import Library
from policies.input_policy import Keywords
from policies.utterance import Utterance

LIBRARY = Library.build(
    [Entry(id=1, term="禁忌配方", risk="A1d", action=Action.BLOCK), Entry(id=2, term="常见词语", risk="A1h")]
)
POLICY = Keywords(lambda: LIBRARY)


@pytest.mark.parametrize("length", [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE + 7])
def test_slices_cover_the_text(length: int) -> None:
    """Each character is in one, none is longer than allowed, and each knows its place."""
    text = "".join(chr(0x4E00 + place % 9000) for place in range(length))
    covered = 0
    for start, piece in slices(text):
        assert start <= covered and len(piece) <= SLICE
        assert text[start : start + len(piece)] == piece
        covered = start + len(piece)
    assert length == covered


@pytest.mark.parametrize("before", [0, 10, SLICE - 2, SLICE, 2 * SLICE - 502, 5 * SLICE])
async def test_a_word_is_found_wherever_it_stands(before: int) -> None:
    """Also across the border of two slices, and its place is that in the whole text."""
    verdict = await judged(POLICY, Utterance("好" * before + "禁忌配方" + "好" * SLICE))
    assert verdict.refused
    assert [(before, before + 4)] == [(found.start, found.end) for found in verdict.evidence]


async def test_what_is_only_counted_is_kept() -> None:
    """A long text that passes keeps its evidence."""
    verdict = await judged(POLICY, Utterance("好" * 3 * SLICE + "常见词语"))
    assert not verdict.refused
    assert ["2"] == [found.what for found in verdict.evidence]


async def test_others_get_their_turn() -> None:
    """A large text does not hold the event loop until its end."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await observed(POLICY, ["好" * 10 * SLICE, "常见词语"], Direction.IN)
    task.cancel()
    assert turns >= 5


@pytest.mark.parametrize("between", ["\u200b" * 800, " " * 5000, "*" * 1000])
async def test_no_border_hides_a_word(between: str) -> None:
    """Whatever is put between its characters, and wherever it stands, a word is found."""
    text = "好" * (SLICE - 700) + "禁忌" + between + "配方" + "好" * 300
    assert (await judged(POLICY, Utterance(text))).refused


async def test_no_border_makes_a_word() -> None:
    """What is harmless within its surroundings is so wherever it stands."""
    library = Library.build(
        [
            Entry(id=1, term="bomb", risk="A1d", action=Action.BLOCK),
            Entry(id=2, term="炸弹", risk="A1d", action=Action.BLOCK, exceptions=("炸弹人游戏",)),
        ]
    )
    policy = Keywords(lambda: library)
    for before in (SLICE - 2, SLICE - 4, SLICE - 503, SLICE - 2002):
        for word in ("炸弹人游戏", "bombay", "abcbomb"):
            assert not (await judged(policy, Utterance("好" * before + word + "好" * 600))).refused, (before, word)


HARMLESS = "无害的话"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("phase", range(8))
@pytest.mark.parametrize("before", [0, 7 * SLICE])
async def test_a_payload_is_read_wherever_it_begins(phase: int, before: int) -> None:
    """Longer than several slices, and beginning anywhere in one, it is read to its end; also one within it."""
    said = HARMLESS * 2 * SLICE + "a" * phase + "禁忌配方"
    for payload in (encoded(said), encoded(encoded(said)), encoded(said).encode().hex()):
        text = "好" * (before + phase) + "，" + payload
        verdict = await judged(POLICY, Utterance(text))
        assert verdict.refused
        assert [(0, len(text))] == [(found.start, found.end) for found in verdict.evidence]
    assert not (await judged(POLICY, Utterance("好" * before + encoded(HARMLESS * 2 * SLICE)))).refused


@pytest.mark.parametrize("between", [" ", "好" * 1000])
async def test_decoys_hide_no_payload(between: str) -> None:
    """However many harmless ones stand before it."""
    decoys = between.join(encoded(f"{HARMLESS}{number}") for number in range(200))
    assert (await judged(POLICY, Utterance(f"{decoys}{between}{encoded('禁忌配方')}"))).refused
    assert not (await judged(POLICY, Utterance(decoys))).refused


async def test_no_border_within_a_payload_makes_a_word() -> None:
    """What is harmless within its surroundings is so when it was encoded, wherever it stands."""
    entry = Entry(id=1, term="炸弹", risk="A1d", action=Action.BLOCK, exceptions=("炸弹人游戏",))
    policy = Keywords(lambda: Library.build([entry]))
    for before in (SLICE - 2, SLICE - 4, SLICE - 503):
        assert not (await judged(policy, Utterance(encoded("好" * before + "炸弹人游戏" + "好" * SLICE)))).refused
