"""Both automaton libraries find the same, in characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.matcher import HYPERSCAN, MOST_HITS, PYAHOCORASICK, BadPattern, Flood, expressions, literals

LIBRARIES = [HYPERSCAN, PYAHOCORASICK]


@pytest.mark.parametrize("library", LIBRARIES)
@given(
    st.lists(st.text("ab法轮\U00020000", min_size=1, max_size=4), unique=True, max_size=8),
    st.text("ab法轮\U00020000", max_size=30),
)
def test_every_occurrence_is_found(library: str, patterns: list[str], text: str) -> None:
    """Overlapping ones, one inside the other, beyond the basic plane: all, with their places in characters."""
    expected = {
        (number, start, start + len(pattern))
        for number, pattern in enumerate(patterns)
        for start in range(len(text))
        if text.startswith(pattern, start)
    }
    found = literals(patterns, library).find(text)
    assert expected == set(found)
    assert len(expected) == len(found)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_text_that_is_made_of_hits(library: str) -> None:
    """There is a bound, and passing it is said."""
    matcher = literals(["a", "aa"], library)
    assert len(matcher.find("a" * (MOST_HITS // 4))) > MOST_HITS // 4
    with pytest.raises(Flood):
        matcher.find("a" * MOST_HITS)


def test_lone_surrogates_are_text_as_well() -> None:
    """What Python can hold can be searched."""
    for library in LIBRARIES:
        assert [(0, 1, 2)] == literals(["b"], library).find("\ud800b")


def test_expressions() -> None:
    """Each place once, in its whole length, whatever the case."""
    matcher = expressions([r"加.{0,3}微信\d+", "abc+"])
    assert {(0, 1, 11), (1, 12, 17)} == set(matcher.find("请加我的微信12345 ABCCC"))


@pytest.mark.parametrize("pattern", ["(b", r"(a|b)*\1", "a{1,99999}", "[", r"(?<=a)b"])
def test_what_is_no_linear_expression_is_refused(pattern: str) -> None:
    """Wrong, or not to be had in linear time: the number of the pattern and the reason."""
    with pytest.raises(BadPattern) as caught:
        expressions(["fine", pattern])
    assert 1 == caught.value.number
    assert str(caught.value)
