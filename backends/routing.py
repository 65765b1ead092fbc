"""Which replica takes a request. Pure: what is known stands in the loads, chance in the number of the request."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from math import ceil

from backends.load import Ask, Load

BOUND = 1.25
"""Times the mean load that affinity gives a replica at most ("Consistent Hashing with Bounded Loads", 2016)."""
EQUAL = 1.1
"""Replicas whose drain times differ by less are equals: speeds are measured, and no better known."""
ALIKE = 1.5
"""Replicas whose speeds differ by less have equal shares of the keys' load: two of a kind are never measured alike."""
CACHE_FULL = 0.95
"""Share of a KV cache above which vLLM begins to put requests back; then its work takes twice as long, say."""
MIXER = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: multiples of it lie far apart."""

Policy = Callable[[Sequence[Load], Ask, int], Load]
"""Takes replicas with room (at least one), what is asked, and the number of the request; returns a replica."""


class Routing(StrEnum):
    """The policies by name, as the settings have them."""

    LEAST_TOKENS = "least_tokens"
    AFFINITY = "affinity"
    ROUND_ROBIN = "round_robin"


def least_tokens(loads: Sequence[Load], ask: Ask, number: int) -> Load:
    """Return the replica that will be done first with what it has and *ask*; of equals, the better one of two.

    The two are those that the key ranks first, so that a conversation stays where its cache is; without a key they
    are drawn. To take the best of all would send every worker to the same replica at the same moment.
    """
    if len(loads) == 1:
        return loads[0]
    fastest = max(load.speed for load in loads) or 1.0
    times = [drain_seconds(load, ask, fastest) for load in loads]
    limit = min(times) * EQUAL
    equals = [load for load, seconds in zip(loads, times, strict=True) if seconds <= limit]
    if len(equals) == 1:
        return equals[0]
    first, second = _two(equals, ask.key, number)
    return second if second.requests < first.requests else first


def drain_seconds(load: Load, ask: Ask, unknown: float) -> float:
    """Return how long *load* has to work until *ask* is done too; *unknown* is the speed of what is not measured yet.

    Requests that come past this worker are taken to be of the size of *ask*.
    """
    tokens = load.tokens + (1 + load.signals.others) * ask.tokens
    seconds = tokens / (load.speed or unknown)
    return seconds * 2 if load.signals.cache > CACHE_FULL else seconds


def affinity(loads: Sequence[Load], ask: Ask, number: int) -> Load:
    """Return the replica that the key ranks first of those that stay within `BOUND` times their share of the load.

    The share of a replica is by its speed. A replica that comes or goes moves no keys but its own. Without a key it is
    `least_tokens`.
    """
    if len(loads) == 1:
        return loads[0]
    if not ask.key:
        return least_tokens(loads, ask, number)
    fastest = max(load.speed for load in loads)
    weights = [1.0 if load.speed * ALIKE >= fastest or not load.speed else load.speed / fastest for load in loads]
    most = BOUND * (1 + sum(load.requests for load in loads)) / sum(weights)
    free = [load for load, weight in zip(loads, weights, strict=True) if load.requests < ceil(most * weight)]
    return min(free, key=lambda load: _rank(ask.key, load.endpoint.replica))


def round_robin(loads: Sequence[Load], ask: Ask, number: int) -> Load:
    """Return the next replica in turn."""
    del ask
    return loads[number % len(loads)]


POLICIES: Mapping[Routing, Policy] = {
    Routing.LEAST_TOKENS: least_tokens,
    Routing.AFFINITY: affinity,
    Routing.ROUND_ROBIN: round_robin,
}


def _two(loads: Sequence[Load], key: str, number: int) -> tuple[Load, Load]:
    """Return the two that *key* ranks first; without a key, two that are drawn."""
    if key:
        first, second, *_ = sorted(loads, key=lambda load: _rank(key, load.endpoint.replica))
        return first, second
    drawn = (number * MIXER) & 0xFFFFFFFFFFFFFFFF
    first_place = (drawn >> 32) % len(loads)
    second_place = (first_place + 1 + (drawn & 0xFFFFFFFF) % (len(loads) - 1)) % len(loads)
    return loads[first_place], loads[second_place]


def _rank(key: str, replica: str) -> bytes:
    """Return *replica*'s rank for *key*: rendezvous hashing, so that a replica that goes moves only its own keys."""
    return blake2b(f"{key}\0{replica}".encode(), digest_size=8).digest()
