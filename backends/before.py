"""What an owner of replicas finds of the one before it: who sends requests goes on with that until it knows better."""

from collections.abc import Iterable

import msgspec

from backends.deployment import Deployment
from backends.endpoint import Endpoint, ReplicaState
from backends.probe import SECONDS, Address
from backends.watch import MISSES

COMING = frozenset({ReplicaState.STOPPED, ReplicaState.STARTING})
"""States of a replica that its owner knows nothing of yet."""
TRUSTED_SECONDS = MISSES * (SECONDS + 5.0)
"""For which an engine that ran before is taken to do so: as long as one that is ready may miss its probes."""


def usable(before: Iterable[Endpoint], replica: str, deployment: Deployment, where: Address) -> tuple[Endpoint, ...]:
    """Return those of *before* that are *replica* of *deployment* and were ready: of a name every address.

    One that someone else runs has to be *where* it is now.
    """
    ready = (one for one in before if one.state is ReplicaState.READY)
    return tuple(one for one in ready if _is(one, replica, deployment, where))


def _is(one: Endpoint, replica: str, deployment: Deployment, where: Address) -> bool:
    if deployment.url is None:
        return one.replica == replica
    named = deployment.discover is not None
    known = one.model == deployment.model if named else one.replica == replica
    host = one.host if named else where.host
    return known and Address(one.host, one.port, one.tls, one.base_path) == where._replace(host=host)


def as_before(now: Endpoint, before: Iterable[Endpoint]) -> list[Endpoint]:
    """Return a replica as it is shown: as its owner sees it *now*, or, while that knows nothing, as it was *before*."""
    if now.state not in COMING:
        return [now]
    return [
        msgspec.structs.replace(
            now,
            replica=one.replica,
            served_name=one.served_name,
            host=one.host,
            port=one.port,
            state=ReplicaState.READY,
            since=one.since,
            wakes=False,
        )
        for one in before
    ] or [now]
