"""A version of the library finds what stands in a text, and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.entry import Action, Direction, Entry, Match
from keywords.library import BadPattern, Library
from keywords.matcher import HYPERSCAN, PYAHOCORASICK, Flood
from tests.keywords import oracle
from tests.keywords.test_live import ENTRIES, TEXTS

IN, OUT = Direction.IN, Direction.OUT


def entry(term: str, **fields: Any) -> Entry:
    return Entry(**{"id": 1, "term": term, "risk": "A1a", "action": Action.BLOCK, **fields})


@pytest.mark.parametrize("library", [HYPERSCAN, PYAHOCORASICK])
@given(TEXTS)
def test_it_finds_what_the_rules_say(library: str, text: str) -> None:
    """Folds, whole words, exceptions, exact spellings: as the plainest reading has it."""
    found = BUILT[library].find(text, OUT)
    assert oracle.places(ENTRIES, text) == {(hit.entry.id, hit.start, hit.end) for hit in found}


BUILT = {library: Library.build(ENTRIES, library=library) for library in (HYPERSCAN, PYAHOCORASICK)}


@given(TEXTS)
def test_clear_is_clear(text: str) -> None:
    """A text that is called clear has nothing in it."""
    if BUILT[HYPERSCAN].is_clear(text):
        assert () == BUILT[HYPERSCAN].find(text, OUT)


def test_directions() -> None:
    """Each entry is looked for where it says."""
    library = Library.build(
        [entry("问题词", direction=IN), entry("回答词", id=2, direction=OUT), entry("都有词", id=3)]
    )
    text = "问题词回答词都有词"
    assert [1, 3] == [hit.entry.id for hit in library.find(text, IN)]
    assert [2, 3] == [hit.entry.id for hit in library.find(text, OUT)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("哪里购买枪支", True),
        ("枪支在哪里能购买到", True),
        ("枪支" + "啊" * 20 + "购买", False),
        ("枪支" + "啊" * 16 + "购买", True),
        ("枪支" + "啊" * 40 + "枪支怎么购买", True),
        ("枪支", False),
        ("枪支，枪支", False),
    ],
)
def test_combinations(text: str, found: bool) -> None:
    """All parts, in any order, within 20 characters."""
    library = Library.build([entry("枪支&购买", match=Match.COMBO, direction=IN)])
    assert found == bool(library.find(text, IN))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("我想学法轮功", True),
        ("fa lun gong", True),
        ("发伦攻", True),
        ("fa轮GONG", True),
        ("xfalungongx", False),
        ("法律", False),
    ],
)
def test_sounds(text: str, found: bool) -> None:
    """Whatever sounds like the term in whole syllables."""
    library = Library.build([entry("falungong", match=Match.PINYIN, direction=IN)])
    assert found == bool(library.find(text, IN))


def test_expressions() -> None:
    """A regular expression sees the text as it was written; one that is wrong is named."""
    library = Library.build([entry(r"加.{0,3}微信\d+", match=Match.REGEX, direction=IN)])
    assert [(0, 9)] == [(hit.start, hit.end) for hit in library.find("加我的微信1234了", IN)]
    with pytest.raises(BadPattern, match="`\\(`"):
        Library.build([entry("fine", id=2), entry("(", match=Match.REGEX, direction=IN)])


def test_a_flood_of_counted_words_hides_nothing() -> None:
    """Entries that only count cannot crowd out one that blocks; a flood of those is said."""
    library = Library.build([entry("啊", action=Action.OBSERVE), entry("炸弹", id=2)])
    assert 2 in {hit.entry.id for hit in library.find("啊" * 50_000 + "炸弹", IN)}
    with pytest.raises(Flood):
        library.find("炸弹" * 50_000, IN)


def test_entries_with_one_spelling_are_all_found() -> None:
    """Two entries whose terms fold to the same are two hits."""
    library = Library.build([entry("法轮"), entry("法輪", id=2, action=Action.OBSERVE)])
    assert {1, 2} == {hit.entry.id for hit in library.find("法轮", OUT)}


def test_building_lets_others_run() -> None:
    """Its work is cut into slices, between which it rests."""
    rests = []
    Library.build([entry(f"词语{number}号", id=number) for number in range(1000)], rest=lambda: rests.append(1))
    assert len(rests) >= 20


@given(st.text(max_size=60))
def test_any_text_can_be_searched(text: str) -> None:
    """Whatever is sent, it is searched."""
    BUILT[HYPERSCAN].find(text, IN)


def test_threads_may_ask_at_once() -> None:
    """Admins' trials run in threads over one library."""
    library = Library.build([entry("炸弹"), entry("x.*y", id=2, match=Match.REGEX, direction=IN)])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: len(library.find("炸弹 x y " * 50 + str(n), IN)), range(400)))
    assert 1 == len(set(found))


def test_an_expression_that_counts_makes_no_flood() -> None:
    """Each end of each match is told; it is one hit for all that."""
    library = Library.build([entry("请.*", match=Match.REGEX, direction=IN, action=Action.OBSERVE)])
    assert 1 == len(library.find("请" + "天气好，" * 10_000, IN))
