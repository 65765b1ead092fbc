"""Which replica takes a request. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from backends.endpoint import Endpoint


def choose(ready: Sequence[Endpoint], load: Mapping[str, int], key: str) -> Endpoint:
    """Return the least loaded of *ready*; *key* breaks ties so that a chat stays where its cache is.

    *load* maps replica ids to requests in flight; *ready* must not be empty.
    """
    if len(ready) == 1:
        return ready[0]
    return min(ready, key=lambda e: (load.get(e.replica, 0), _rank(key, e.replica)))


def _rank(key: str, replica: str) -> bytes:
    """Return *replica*'s rank for *key*: rendezvous hashing, so that a replica that goes moves only its own keys."""
    return blake2b(f"{key}\0{replica}".encode(), digest_size=8).digest()
