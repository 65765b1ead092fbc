"""Every metric, named in one place.

Turns add to plain numbers of this process (well under a microsecond each); `Metrics.flush` moves them into
prometheus_client once a second and before each scrape. Several workers share one directory of memory-mapped files, so
that a scrape of any of them shows all. No label has unbounded values: models, replicas and key names are the
operator's own, routes and outcomes are fixed.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.audit.record import Turn

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
INTER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)
ADDED = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5)


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Iterable[int], total: float) -> None:
        """Add *counts* observations bucket by bucket (the last one: above all bounds), *total* in sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Tally:
    """Observations of one histogram that were not moved yet."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def move(self, child: Any) -> None:
        """Move what was counted into *child*, a labelled `BulkHistogram`."""
        if any(self.counts):
            child.add(self.counts, self.total)
            self.counts = [0] * len(self.counts)
            self.total = 0.0


class ReplicaNumbers:
    """What this process has seen of one replica since the last flush."""

    __slots__ = ("added", "completion_tokens", "first_token", "inter_token", "labels", "prompt_tokens", "total")

    def __init__(self, model: str, replica: str) -> None:
        self.labels = (model, replica)
        self.first_token = Tally(SECONDS)
        self.inter_token = Tally(INTER_TOKEN)
        self.total = Tally(SECONDS)
        self.added = Tally(ADDED)
        self.prompt_tokens = 0
        self.completion_tokens = 0


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry
        labels = ("model", "replica")

        def histogram(name: str, text: str, bounds: tuple[float, ...]) -> BulkHistogram:
            return BulkHistogram(name, text, labels, buckets=bounds, registry=registry)

        self.requests = Counter(
            "gateway_requests", "Turns by how they ended.", ("route", "model", "key", "outcome"), registry=registry
        )
        self.first_token = histogram("gateway_time_to_first_token_seconds", "From request to first event.", SECONDS)
        self.inter_token = histogram("gateway_inter_token_seconds", "Between two events of a stream.", INTER_TOKEN)
        self.duration = histogram("gateway_request_seconds", "From request to the answer's last byte.", SECONDS)
        self.added = histogram("gateway_added_seconds", "Spent in the gateway itself, engine excluded.", ADDED)
        self.prompt_tokens = Counter("gateway_prompt_tokens", "Tokens in.", labels, registry=registry)
        self.completion_tokens = Counter("gateway_completion_tokens", "Tokens out.", labels, registry=registry)
        self.tokens_per_second = Gauge(
            "gateway_tokens_per_second",
            "Tokens out per second, over the last flushes.",
            labels,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.in_flight = Gauge(
            "gateway_in_flight_requests",
            "Requests at engines now.",
            labels,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.build = Gauge("gateway_build_info", "1.", ("version",), registry=registry, multiprocess_mode="liveall")
        self._replicas: dict[str, ReplicaNumbers] = {}
        self._turns: dict[tuple[str, str, str, str], int] = {}
        self._flushed = 0.0

    def replica(self, model: str, replica: str) -> ReplicaNumbers:
        """Return the numbers of one replica, to be added to."""
        found = self._replicas.get(replica)
        if found is None:
            found = self._replicas[replica] = ReplicaNumbers(model, replica)
        return found

    def turn(self, turn: Turn) -> None:
        """Count a turn that has ended."""
        labels = (turn.route, turn.model, turn.caller.name, turn.outcome.value)
        self._turns[labels] = self._turns.get(labels, 0) + 1
        if not turn.replica:
            return
        numbers = self.replica(turn.model, turn.replica)
        numbers.prompt_tokens += turn.prompt_tokens
        numbers.completion_tokens += turn.completion_tokens
        numbers.added.observe(turn.added_seconds)
        if turn.first_token_seconds is not None:
            numbers.first_token.observe(turn.first_token_seconds)
        if turn.seconds is not None:
            numbers.total.observe(turn.seconds)

    def flush(self, now: float, in_flight: dict[str, int]) -> None:
        """Move everything into prometheus_client; *now* in seconds of a monotonic clock."""
        elapsed, self._flushed = now - self._flushed, now
        for labels, count in self._turns.items():
            self.requests.labels(*labels).inc(count)
        self._turns.clear()
        for replica, numbers in self._replicas.items():
            numbers.first_token.move(self.first_token.labels(*numbers.labels))
            numbers.inter_token.move(self.inter_token.labels(*numbers.labels))
            numbers.total.move(self.duration.labels(*numbers.labels))
            numbers.added.move(self.added.labels(*numbers.labels))
            self.prompt_tokens.labels(*numbers.labels).inc(numbers.prompt_tokens)
            self.completion_tokens.labels(*numbers.labels).inc(numbers.completion_tokens)
            self.tokens_per_second.labels(*numbers.labels).set(numbers.completion_tokens / max(elapsed, 0.001))
            self.in_flight.labels(*numbers.labels).set(in_flight.get(replica, 0))
            numbers.prompt_tokens = numbers.completion_tokens = 0

    def render(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        return scrape(self.registry)


def scrape(registry: CollectorRegistry | None = None) -> bytes:
    """Return the text format: of every process where they share a directory, else of *registry*."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(registry or CollectorRegistry())
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return generate_latest(shared)
