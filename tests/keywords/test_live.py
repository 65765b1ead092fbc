"""A growing text, however it is cut, holds what the whole text holds, and no more of it is held than must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.context import Term
from keywords.entry import Action, Boundary, Entry, Match
from keywords.live import MOST_HELD, Scanner, stands
from keywords.words import MOST_REMEMBERED, Words
from tests.keywords import oracle

MASK = Action.MASK
ENTRIES = (
    Entry(id=1, term="法轮功", risk="A1a", action=MASK),
    Entry(id=2, term="轮功法", risk="A1a", action=MASK),
    Entry(id=3, term="功法", risk="A1a", action=MASK, exceptions=("练功法门", "轮功法", "功法书")),
    Entry(id=4, term="fuck", risk="A1f", action=MASK),
    Entry(id=5, term="fuck you", risk="A1f", action=MASK),
    Entry(id=6, term="bad", risk="A1f", action=MASK, boundary=Boundary.NONE, exceptions=("badge", "abadan")),
    Entry(id=7, term="K粉", risk="A1h", action=MASK, match=Match.EXACT),
    Entry(id=8, term="ad", risk="A1f", action=MASK, exceptions=("ad hoc",)),
    Entry(id=9, term="法 轮", risk="A1a", action=MASK, match=Match.EXACT),
)
PIECES = st.sampled_from(
    [
        *"法轮功练门书 k粉Ｋ.,，。\u200b'法轮功",
        "FUCK",
        "fuck",
        " you",
        "ba",
        "d",
        "ge",
        "a",
        "dan",
        " hoc",
        "功法",
        "練",
        "㎏",
        "①",
        "法*輪",
        "\n",
    ]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)


def words() -> Words:
    return Words([Term(entry) for entry in ENTRIES])


def found_in(text: str, cuts: list[int]) -> set[oracle.Place]:
    """Return what a scanner finds in *text*, cut at *cuts*, holding its state to the oracle's at every cut."""
    scanner, found = Scanner(words()), []
    places = sorted({cut for cut in cuts if cut < len(text)})
    for begin, end in zip([0, *places], [*places, len(text)], strict=True):
        found += scanner.feed(text[begin:end])
        held_from = oracle.live(ENTRIES, text[:end])
        assert text[held_from:end] == scanner.held
    found += scanner.finish()
    assert len(found) == len(set(found))
    return {(one.term.entry.id, one.start, one.end) for one in found}


@given(TEXTS, st.lists(st.integers(1, 40)))
def test_no_cut_changes_what_is_found(text: str, cuts: list[int]) -> None:
    """Every term of the whole text is found once, and at each cut exactly what may still be a term is held."""
    assert oracle.places(ENTRIES, text) == found_in(text, cuts)


@given(TEXTS)
def test_what_stands_in_a_text_that_is_all_there_is(text: str) -> None:
    assert bool(oracle.places(ENTRIES, text)) == stands(words(), text)


@given(TEXTS)
def test_character_by_character(text: str) -> None:
    """The finest cut of all."""
    assert oracle.places(ENTRIES, text) == found_in(text, list(range(len(text))))


@pytest.mark.parametrize(
    ("fed", "held"),
    [
        ("今天天气不错", ""),
        ("他说法", "法"),
        ("他说法律", ""),
        ("法 *轮. ", "法 *轮. "),
        ("法轮功", "轮功"),
        ("法轮功。", ""),
        ("oh fuck", "fuck"),
        ("oh fuck ", "fuck "),
        ("oh fuck me", ""),
        ("xfuc", ""),
        ("练功法", "功法"),
        ("练功法门", ""),
    ],
)
def test_only_a_live_beginning_is_held(fed: str, held: str) -> None:
    """Nothing is held where no term may be coming."""
    scanner = Scanner(words())
    for character in fed:
        scanner.feed(character)
    assert held == scanner.held


def test_a_block_ends_the_text() -> None:
    """Behind the first term that blocks nothing is read, and all from its first character on is held."""
    entries = (Entry(id=1, term="炸弹", risk="A1d", action=Action.BLOCK), *ENTRIES)
    for size in (1, 2, 50):
        scanner, text, found = Scanner(Words([Term(entry) for entry in entries])), "前法轮功中炸弹后法轮功", []
        for start in range(0, len(text), size):
            if not scanner.ended:
                found += scanner.feed(text[start : start + size])
        assert scanner.ended
        assert [1, 1] == [one.term.entry.id for one in found if one.start < 5] + [found[-1].term.entry.id]
        assert scanner.held.startswith("炸弹")


@given(st.lists(st.sampled_from([*"法轮功练门书", "法轮功练", "轮功门", "功练书"]), max_size=12), st.integers(1, 4))
def test_beginnings_within_a_beginning_are_not_lost(parts: list[str], size: int) -> None:
    """Pieces that end no term keep the longest beginning alone; the shorter ones count once it breaks off."""
    terms = ("法轮功练门", "轮功门书", "功练书法", "练门")
    entries = [Entry(id=number, term=term, risk="A1a", action=MASK) for number, term in enumerate(terms)]
    scanner, text, found = Scanner(Words([Term(entry) for entry in entries])), "".join(parts), []
    for start in range(0, len(text), size):
        found += scanner.feed(text[start : start + size])
        assert text[oracle.live(entries, text[: start + size]) : start + size] == scanner.held
    found += scanner.finish()
    assert oracle.places(entries, text) == {(one.term.entry.id, one.start, one.end) for one in found}


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("size", [1, 64, 5_000])
def test_what_is_begun_is_held_only_so_long(size: int) -> None:
    """Signs between the characters of a term are skipped, but no endless row of them."""
    scanner = Scanner(words())
    text, passed, most = "法" + "*" * 4 * MOST_HELD + "。", "", 0
    for at in range(0, len(text), size):
        assert not scanner.feed(text[at : at + size])
        passed += scanner.passed
        most = max(most, len(scanner.held))
    assert (text, True) == (passed, most <= MOST_HELD)


def test_calm_characters_do_not_fill_the_memory() -> None:
    """However many different characters a model says, those remembered are bounded."""
    scanner = Scanner(words())
    for point in range(0x3400, 0x30000):
        scanner.feed(chr(point))
    assert len(scanner.words.calm) <= MOST_REMEMBERED
