"""When a delivery is tried again."""

import pytest

from gateway.webhooks.backoff import GIVE_UP_SECONDS, delay


def test_the_pauses_grow_to_six_hours() -> None:
    """From five seconds on, four times as long each time."""
    assert [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600] == [delay(n, 0.5) for n in range(1, 10)]
    assert delay(10_000, 0.5) == 21_600


def test_chance_spreads_them() -> None:
    """By a fifth either way."""
    assert (4, 6) == pytest.approx((delay(1, 0), delay(1, 1)))


def test_there_are_some_tries_before_it_is_given_up() -> None:
    """About eighteen in three days."""
    spent, tries = 0.0, 0
    while spent < GIVE_UP_SECONDS:
        tries += 1
        spent += delay(tries, 0.5)
    assert 15 <= tries <= 20
