"""Rate limits, against a list of all that was ever taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.rates import Book, Charge, Span

MINUTE = 60_000
NOON = 1_764_000_000_000


def test_what_was_used_comes_back_after_a_minute() -> None:
    """At most one step later; whoever is turned away is told the moment."""
    book, charge = Book(), Charge("k", 3)
    for second in (0, 10, 20):
        assert book.take([charge], NOON + second * 1000 + 500).refused == -1
    refused = book.take([charge], NOON + 30_000)
    assert (0, (3,), NOON + 61_000) == (refused.refused, refused.used, NOON + 30_000 + refused.wait)
    assert book.take([charge], NOON + 60_999).refused == 0
    assert book.take([charge], NOON + 61_000).refused == -1


def test_all_or_nothing() -> None:
    """What does not fit takes nothing of the others; told is the one that lasts longest."""
    book = Book()
    book.take([Charge("slow", 5, 5)], NOON)
    book.take([Charge("quick", 5, 5)], NOON - 50_000)
    both = [Charge("quick", 5), Charge("free", 5), Charge("slow", 5)]
    grant = book.take(both, NOON)
    assert (2, 61_000, (5, 0, 5)) == (grant.refused, grant.wait, grant.used)
    assert book.used(both[1], NOON) == 0


def test_what_was_not_used_is_given_back() -> None:
    """To the moment at which it was taken; what was used beyond the estimate counts from now."""
    book, tokens = Book(), Charge("k", 1000, 600)
    book.take([tokens], NOON)
    book.give("k", 500, NOON, NOON + 3_000)
    assert 100 == book.used(tokens, NOON + 3_000)
    book.give("k", -700, NOON, NOON + 30_000)
    assert (800, 700) == (book.used(tokens, NOON + 30_000), book.used(tokens, NOON + 61_000))
    book.give("k", 100, NOON, NOON + 61_000)
    assert 700 == book.used(tokens, NOON + 61_000), "what has left the window is not given back"


def test_places_are_free_when_left_or_not_renewed() -> None:
    """A worker that was killed renews nothing."""
    book = Book()
    assert [-1, -1, 0] == [book.take([Charge("s", 2, 1, name)], NOON).refused for name in "abc"]
    book.leave("s", "a")
    assert book.take([Charge("s", 2, 1, "c")], NOON).refused == -1
    book.renew("s", "c", NOON + 20_000)
    assert [0, -1, 0] == [
        book.take([Charge("s", 2, 1, name)], NOON + seconds * 1000).refused
        for name, seconds in (("d", 29), ("e", 30), ("f", 31))
    ]


def test_what_no_longer_counts_is_forgotten() -> None:
    """Nobody's counts are kept for ever."""
    book = Book()
    book.take([Charge("w", 5), Charge("s", 5, 1, "a")], NOON)
    book.forget(NOON + MINUTE // 2)
    assert ({"w"}, set()) == (set(book.windows), set(book.places))
    book.forget(NOON + 2 * MINUTE)
    assert not book.windows


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(st.sampled_from([0, 1, 250, 999, 1_000, 7_000, 59_000, 60_000]), st.integers(1, 20)), max_size=60
    ),
)
def test_never_more_than_the_limit_within_any_minute(limit: int, asked: list[tuple[int, int]]) -> None:
    """And never less, but for what may still lie in the step that is just leaving."""
    book, now, taken = Book(), NOON + 1, list[tuple[int, int]]()
    for pause, most in asked:
        now += pause
        amount = min(most, limit)
        minute = sum(one for at, one in taken if at > now - MINUTE)
        longer = sum(one for at, one in taken if at > now - MINUTE - 1_000)
        grant = book.take([Charge("k", limit, amount)], now)
        if grant.refused < 0:
            assert minute + amount <= limit
            taken.append((now, amount))
            continue
        assert longer + amount > limit
        for wait, refused in ((grant.wait - 1, 0), (grant.wait, -1)):
            trial = Book()
            trial.windows = {"k": dict(book.windows["k"])}
            assert trial.take([Charge("k", limit, amount)], now + wait).refused == refused


@pytest.mark.parametrize("span", [Span(), Span(window=2_000, step=50)])
def test_a_burst_is_the_whole_limit(span: Span) -> None:
    """Nothing is held back, and nothing is given twice."""
    book = Book(span)
    granted = sum(book.take([Charge("k", 50)], NOON + i).refused < 0 for i in range(span.window // 2))
    assert 50 == granted
