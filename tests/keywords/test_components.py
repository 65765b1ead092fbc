"""Characters in two halves."""

import unicodedata
from itertools import pairwise

import pytest

from keywords.components import _PAIRS, joins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("氵去", [(0, 2, "法")]),
        ("车仑", [(0, 2, "轮")]),
        ("車侖", [(0, 2, "轮")]),
        ("工力", [(0, 2, "功")]),
        ("女乃", [(0, 2, "奶")]),
        ("火乍药", [(0, 2, "炸")]),
        ("我要木仓", [(2, 4, "枪")]),
        ("弓虽女干", [(0, 2, "强"), (2, 4, "奸")]),
        ("歹匕", [(0, 2, "死")]),
        ("去氵", []),
        ("氵 去", []),
        ("今天天气很好", []),
        ("", []),
    ],
)
def test_halves_side_by_side(text: str, expected: list[tuple[int, int, str]]) -> None:
    assert expected == list(joins(text))


def test_a_half_serves_once() -> None:
    """女子 is taken, so that 子 is not also the begin of another character."""
    places = [(start, end) for start, end, _ in joins("女子小女子女子木木木木")]
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def test_the_table_holds_characters() -> None:
    """Some hundred pairs, two different halves of one character that is none of them."""
    assert len(_PAIRS) > 1000
    for pair, character in _PAIRS.items():
        assert len(pair) == 2 and len(character) == 1 and character not in pair
        assert unicodedata.name(character).startswith("CJK")
