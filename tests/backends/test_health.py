"""Whether an engine is suspected."""

import pytest

from backends.health import CANARY_SECONDS, StallDetector


@pytest.mark.parametrize(
    ("seconds", "silent", "suspect"),
    [(10, None, False), (10, 9.9, False), (10, 10, True), (10, 1e6, True), (0, 1e6, False)],
)
def test_silence(seconds: float, silent: float | None, suspect: bool) -> None:
    """From the bound on, where requests wait; never where it is 0."""
    assert suspect == StallDetector(seconds).suspects(silent, 0)


def test_an_engine_that_has_answered_is_left_alone_for_a_while() -> None:
    """A long prompt is silence too, and one canary after the other would be load."""
    detector = StallDetector(10)
    assert detector.suspects(10, 100)
    detector.cleared(101)
    assert [False, True] == [detector.suspects(20, moment) for moment in (110.9, 111)]


def test_patience() -> None:
    """As long as the silence before, and bounded."""
    assert [5, CANARY_SECONDS] == [StallDetector(seconds).patience for seconds in (5, 500)]
