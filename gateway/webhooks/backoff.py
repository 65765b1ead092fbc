"""When a delivery is tried again."""

FIRST_SECONDS = 5.0
FACTOR = 4.0
LONGEST_SECONDS = 6 * 3_600.0
GIVE_UP_SECONDS = 3 * 86_400
"""From the event on; then it is shown as failed."""
JITTER = 0.2


def delay(attempts: int, chance: float) -> float:
    """Return the seconds until the next attempt after *attempts* failed ones (at least one).

    5 s, then four times as long each time, six hours at most. *chance* (0 to 1) spreads it by a fifth either way, so
    that what failed together is not tried together.
    """
    exact = min(FIRST_SECONDS * FACTOR ** min(attempts - 1, 10), LONGEST_SECONDS)
    return exact * (1 - JITTER + 2 * JITTER * chance)
