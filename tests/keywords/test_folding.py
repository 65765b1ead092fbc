"""One spelling for many, the same however a text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.folding import SPACED, SQUEEZED, Fold, has_ideographs, is_word


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Ｆｕｃｋ", "fuck"),
        ("法　輪 功", "法轮功"),
        ("法.轮*功_法-轮~功", "法轮功法轮功"),
        ("法\u200b轮\ufe0f功\u00ad", "法轮功"),
        ("①②③", "123"),
        ("Ⅷ", "8"),
        ("1️⃣", "1"),
        ("壹贰叁", "一二三"),
        ("㈠", "一"),
        ("café", "cafe"),
        ("Ёлка", "елка"),
        ("ﬁne", "fine"),
        ("が", "が"),
        ("法😀轮", "法轮"),
        ("好。法，轮！", "好。法,轮!"),
        ("線\n上", "线上"),
        ("Straße", "strasse"),
    ],
)
def test_squeezed(written: str, folded: str) -> None:
    """Width, case, script form, digits and marks are one; blanks and symbols are gone; ends of clauses stay."""
    assert folded == SQUEEZED.text(written)


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Kill   Yourself", "kill yourself"),
        ("kill-your_self", "kill your self"),
        ("don’t", "dont"),
        ("f\u200buck", "fuck"),
        ("a。 b", "a b"),
        ("我fuck你", "我fuck你"),
        ("  a", " a"),
    ],
)
def test_spaced(written: str, folded: str) -> None:
    """What is neither letter nor digit is one blank."""
    assert folded == SPACED.text(written)


@given(st.text(max_size=40), st.integers(0, 40))
def test_squeezed_does_not_see_cuts(text: str, cut: int) -> None:
    """The fold of a text is the folds of its pieces."""
    assert SQUEEZED.text(text) == SQUEEZED.text(text[:cut]) + SQUEEZED.text(text[cut:])


@pytest.mark.parametrize("fold", [SQUEEZED, SPACED])
@given(st.text(max_size=40) | st.text("aＡ 法輪①㎏’-", max_size=12))
def test_each_folded_character_knows_its_origin(fold: Fold, text: str) -> None:
    """The traced fold is the fold, with one place for each character, in order."""
    folded, origin = fold.traced(text)
    assert fold.text(text) == folded
    assert len(folded) == len(origin)
    assert sorted(origin) == origin
    assert all(character in fold[ord(text[place])] for character, place in zip(folded, origin, strict=True))


@pytest.mark.parametrize("fold", [SQUEEZED, SPACED])
@given(st.text(max_size=40) | st.text("aＡ 法輪①㎏’-ﬁ\ue000\ue001", max_size=20))
def test_places_are_those_of_one_character_after_the_other(fold: Fold, text: str) -> None:
    """The quick way to trace gives what the plain one does; of several blanks the first is kept."""
    plain: list[tuple[str, int]] = []
    for place, character in enumerate(text):
        for folded in fold[ord(character)]:
            if not (fold is SPACED and folded == " " and plain and plain[-1][0] == " "):
                plain.append((folded, place))
    folded, origin = fold.traced(text)
    assert plain == list(zip(folded, origin, strict=True))


@given(st.text(max_size=30))
def test_folding_twice_changes_nothing(text: str) -> None:
    """A fold is a normal form."""
    assert SQUEEZED.text(SQUEEZED.text(text)) == SQUEEZED.text(text)


@pytest.mark.usefixtures("untraced")
def test_memory_is_bounded() -> None:
    """All of Unicode passes through, and not all of it is remembered."""
    for point in range(0x110000):
        SQUEEZED[point]
    assert len(SQUEEZED) <= 60_000


def test_scripts() -> None:
    """Ideographs are no words between blanks; letters and digits are."""
    assert has_ideographs("qq群") and has_ideographs("カ") and not has_ideographs("qq 1")
    assert is_word("a") and is_word("7") and is_word("д") and not is_word("法") and not is_word(" ")
