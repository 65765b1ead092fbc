"""What work costs, on a machine that does other things too."""

import time
from collections.abc import Callable

TRIES = 3


def cpu_seconds(
    work: Callable[[], object], bound: float, clock: Callable[[], float] = time.process_time, tries: int = TRIES
) -> float:
    """Return the processor's time that *work* took in the quickest of *tries*; one within *bound* is the last.

    A processor that is shared, with its caches, is slower at times, though the time of others does not count.
    """
    least = float("inf")
    for _ in range(tries):
        began = clock()
        work()
        least = min(least, clock() - began)
        if least < bound:
            break
    return least
