"""What texts are found by."""

import pytest

from gateway.audit import grams


def test_two_neighbours_are_a_term() -> None:
    """A Chinese text has no spaces to be cut at."""
    assert grams.pairs("制造炸弹") == {"制造", "造炸", "炸弹"}
    assert grams.pairs("炸") == set()


def test_forms_that_mean_the_same_are_one() -> None:
    """Wide letters and capitals."""
    assert grams.fold("ＡＢc①") == "abc1"


def test_neighbours_alone_are_no_words() -> None:
    """The text has to have the query as it is."""
    assert grams.contains("炸弹", ("我不会", "造炸弹"))
    assert not grams.contains("国人民", ("中国人，人民", None))


def test_what_stands_far_behind_cannot_be_found() -> None:
    """The terms of one text are bounded."""
    long = "甲" * (grams.MOST_CHARACTERS + 5) + "炸弹"
    assert grams.pairs(long) == {"甲甲"}


@pytest.mark.parametrize("pair", ['a"', "' ", "-*", "()", "\n甲", "🙂甲", "e1", "g4"])
def test_a_token_is_letters_and_digits_of_its_own(pair: str) -> None:
    """Nothing in a text is syntax of the database, and no text is an entry."""
    token = grams.token(pair)
    assert token.isalnum()
    assert token.isascii()
    assert token != grams.token(grams.entry(1))
    assert grams.match({pair, "甲乙"}).count(" AND ") == 1
