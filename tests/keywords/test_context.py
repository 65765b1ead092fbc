"""Longer harmless words, and words that stand alone."""

import pytest

from keywords.context import Term, stands_alone
from keywords.entry import Entry, Match

TERM = Term(Entry(id=1, term="色情", risk="A1f", exceptions=("特色情怀", "色情扫黄办公室")))


@pytest.mark.parametrize(
    ("before", "after", "excused", "undecided"),
    [
        ("特", "怀", True, False),
        ("有特", "怀旧", True, False),
        ("特", "", False, True),
        ("", "扫黄", False, True),
        ("", "扫黄办公室", True, False),
        ("", "扫地", False, False),
        ("", "", False, True),
        ("好", "怀", False, False),
    ],
)
def test_excuses(before: str, after: str, excused: bool, undecided: bool) -> None:
    """A hit inside a listed longer word is none; while that word may still come, nothing is certain."""
    assert excused == TERM.excused(before, after)
    assert (undecided or excused) == (excused or TERM.undecided(before, after))


def test_words() -> None:
    """Letters and digits on either side make it part of another word; ideographs do not."""
    assert stands_alone("a bad b", 2, 5)
    assert stands_alone("法bad轮", 1, 4)
    assert not stands_alone("xbad", 1, 4)
    assert not stands_alone("bad1", 0, 3)


def test_exact() -> None:
    """An exact entry wants its own spelling; any other takes each."""
    exact = Term(Entry(id=1, term="K粉", risk="A1h", match=Match.EXACT))
    assert exact.is_exact("K粉") and not exact.is_exact("k粉")
    assert TERM.is_exact("色 情")
