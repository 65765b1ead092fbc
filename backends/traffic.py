"""What the workers have at which replica, put together for the owner of the replicas.

Each worker reports all that it has, again and again; the last report of each counts. Pure: moments are arguments.
"""

import asyncio
from collections.abc import Hashable
from typing import Protocol

import msgspec


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What one worker has at one replica."""

    ready: bool
    """Whether it may send more there, as far as it has heard."""
    requests: int
    """That run there now."""
    taken: int
    """That it has sent there so far."""
    since: float
    """The replica's `Endpoint.since` that it has heard of."""
    silent: float | None
    """Seconds since anything came from there while requests waited; None: none does."""


class Report(msgspec.Struct, frozen=True):
    """What one worker has at all replicas."""

    replicas: dict[str, Usage]
    wanted: list[str]
    """Models that requests wait for, none of whose replicas is ready."""


class Traffic(Protocol):
    """What the owner of a replica is told of its requests."""

    def busy(self, replica: str, since: float | None = None) -> bool:
        """Return whether *replica* has requests, or may yet get some from a worker that has not heard of *since*.

        *since*: the moment of its last change; None: it is not one of those that are published.
        """

    def silence(self, replica: str) -> float | None:
        """Return for how many seconds requests have waited at *replica* and nothing has come; None: nobody waits."""


class NoTraffic:
    """Nobody sends requests."""

    def busy(self, replica: str, since: float | None = None) -> bool:
        """Return that *replica* has none."""
        del replica, since
        return False

    def silence(self, replica: str) -> float | None:
        """Return that nobody waits at *replica*."""
        del replica
        return None


class Reports:
    """The last report of each worker, by its connection; *workers* of them there are to be."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.came = asyncio.Event()
        """Set when a report says that a model is wanted."""
        self._last: dict[Hashable, Report] = {}
        self._gone: dict[str, int] = {}
        """Requests that workers had sent to a replica which have ended since."""

    def take(self, worker: Hashable, report: Report) -> None:
        """Take the newest report of *worker*."""
        self._last[worker] = report
        if report.wanted:
            self.came.set()

    def lose(self, worker: Hashable) -> None:
        """Take that *worker* has ended, and all that it had with it."""
        last = self._last.pop(worker, None)
        for replica, usage in (last.replicas if last is not None else {}).items():
            self._gone[replica] = self._gone.get(replica, 0) + usage.taken + 1  # what came after its last word

    def busy(self, replica: str, since: float | None = None) -> bool:
        """See `Traffic`. A worker that has not come yet, or not come back, may have requests there."""
        usages = self._usages(replica)
        heard = len(self._last) if since is None else sum(usage.since == since for usage in usages)
        return heard < self.workers or any(usage.ready or usage.requests for usage in usages)

    def silence(self, replica: str) -> float | None:
        """See `Traffic`: of the workers that wait there the one that has heard something last."""
        return min((usage.silent for usage in self._usages(replica) if usage.silent is not None), default=None)

    def activity(self, replica: str) -> tuple[int, int]:
        """Return requests that run at *replica*, and a number that changes with each that is sent there."""
        usages = self._usages(replica)
        return sum(u.requests for u in usages), self._gone.get(replica, 0) + sum(u.taken for u in usages)

    def wanted(self) -> set[str]:
        """Return the models that requests wait for, none of whose replicas is ready."""
        return {model for report in self._last.values() for model in report.wanted}

    def _usages(self, replica: str) -> list[Usage]:
        return [report.replicas[replica] for report in self._last.values() if replica in report.replicas]
