"""What is asked of a replica, and what a worker knows of the work that it has already."""

from enum import IntEnum
from typing import NamedTuple

from backends.breaker import Breaker
from backends.endpoint import Endpoint

RISES, FALLS = 0.3, 0.02
"""Weights of an answer that was faster, or slower, than the speed so far: what is wanted is the speed of an engine
that has little to do, since what it has to do is counted apart."""
FEWEST_TOKENS = 16
"""Of an answer that says something of an engine's speed; a shorter one is mostly prefill."""
MOST_TOKENS = 1_000_000
"""Of an answer; an engine may report any number."""


FEWEST_ANSWERS = 10
"""Measured before a speed counts as known: one answer with a long prompt makes a replica look slow."""


class Priority(IntEnum):
    """Who goes first where requests wait."""

    AGAIN = 0
    """A request that was with a replica which then died."""
    HIGH = 1
    NORMAL = 2
    LOW = 3


class Ask(NamedTuple):
    """What the gateway says of a request; nothing of its words."""

    tokens: int = 1
    """Estimated, of the prompt and the longest answer together."""
    person: str = ""
    """Among whom the queue is fair."""
    priority: Priority = Priority.NORMAL
    key: str = ""
    """Requests with the same key profit from the same replica's cache."""


class Signals(NamedTuple):
    """What an engine says of itself, when it was looked at last."""

    others: int = 0
    """Requests there, running or waiting, that are not this worker's."""
    cache: float = 0.0
    """Share of the KV cache in use."""


NO_SIGNALS = Signals()


class Load:
    """One replica, as one worker sees it."""

    __slots__ = (
        *("_answers", "_speed", "breaker", "cap", "endpoint", "requests", "signals", "since", "speed", "taken"),
        "tokens",
    )

    def __init__(self, endpoint: Endpoint, cap: int) -> None:
        self.endpoint = endpoint
        self.cap = cap
        """Requests that this worker may have there at once."""
        self.requests = 0
        self.taken = 0
        """Requests that were ever sent there."""
        self.since = 0.0
        """The moment since which there was always one."""
        self.tokens = 0
        """Of the requests in flight, as they were estimated."""
        self.speed = 0.0
        """Tokens a second of an answer that has little beside it; 0: not known yet."""
        self._speed = 0.0
        self._answers = 0
        self.signals = NO_SIGNALS
        self.breaker = Breaker()

    def measured(self, tokens: int, seconds: float) -> None:
        """Take that an answer of *tokens* took *seconds*."""
        if not FEWEST_TOKENS <= tokens <= MOST_TOKENS or seconds <= 0:
            return
        speed = tokens / seconds
        weight = RISES if speed > self._speed else FALLS
        self._speed = self._speed + weight * (speed - self._speed) if self._answers else speed
        self._answers += 1
        if self._answers >= FEWEST_ANSWERS:
            self.speed = self._speed


def share(slots: int, index: int, workers: int) -> int:
    """Return how many of *slots* are worker *index*'s, out of *workers*.

    At least one: a worker without any could answer nobody. Where there are more workers than slots the engine has to
    let some requests wait itself.
    """
    whole, rest = divmod(slots, workers)
    return max(1, whole + (index < rest))
