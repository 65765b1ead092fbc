"""Every metric, named in one place.

Turns add to plain numbers of this process (well under a microsecond each); `Metrics.flush` moves them into
prometheus_client once a second and before each scrape. Several workers share one directory of memory-mapped files, so
that a scrape of any of them shows all. What each metric says of itself is its meaning in docs/metrics.md. No label
has unbounded values: models, replicas and key names are the operator's own, routes and outcomes are fixed.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.audit.record import Turn
from keywords.entry import Entry
from policies.keyword_policy import Where
from policies.verdict import Action

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
INTER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5)
ADDED = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5)

NAMING = frozenset({"chat", "completion"})
"""Routes whose callers are to say who is speaking."""
WAITED = 0.001
"""Seconds from which a request counts as one that had to wait: to be given a replica takes some microseconds."""
MOST_TOKENS = 10**9
"""Of one turn; an engine may report any number, negative ones and such as no float holds, too."""

ADDED_TEXT = "spent in the gateway itself: until the engine is asked, and, of whole answers, in handling what it says"


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
            counts, total = self.counts, self.total
            self.counts = [0] * len(counts)  # first: what cannot be moved must not come again
            self.total = 0.0
            child.add(counts, total)


class ReplicaNumbers:
    """What this process has seen of one replica since the last flush."""

    __slots__ = (
        "added",
        "completion_tokens",
        "first_token",
        "inter_token",
        "labels",
        "moved",
        "prompt_tokens",
        "queued",
        "total",
    )

    def __init__(self, model: str, replica: str) -> None:
        self.labels = (model, replica)
        self.first_token = Tally(SECONDS)
        self.inter_token = Tally(INTER_TOKEN)
        self.total = Tally(SECONDS)
        self.added = Tally(ADDED)
        self.queued = Tally(SECONDS)
        self.moved = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0


class AuditMetrics:
    """Those of the audit log: of the workers that write it, and of the control process that brings it into the index.

    Without a *registry* they are nobody's but the scrape's, where processes share a directory.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()

        def gauge(name: str, text: str, mode: Literal["livesum", "livemax"]) -> Gauge:
            return Gauge(f"gateway_audit_{name}", text, registry=registry, multiprocess_mode=mode)

        self.trouble = gauge(
            "unavailable", "workers that cannot write the audit log now, and refuse every request", "livesum"
        )
        self.settle_lag = gauge(
            "settle_lag_seconds", "for how long the oldest record of a worker waits for the disk", "livemax"
        )
        self.heads_failed = gauge(
            "heads_failed",
            "of signing the heads of the audit log and copying them elsewhere, how many fail now",
            "livesum",
        )
        self.index_lag = gauge(
            "index_lag_seconds", "age of the oldest record that the index lacked as it last looked", "livemax"
        )
        self.index_behind = gauge("index_behind_records", "records of the log that are not in the index yet", "livesum")
        self.index_holes = Counter(
            "gateway_audit_index_holes",
            "records that the index could not read: the chain is broken there, or they are of another version",
            registry=registry,
        )


class LibraryMetrics:
    """What the control process tells of the keyword library.

    Without a *registry* they are nobody's but the scrape's, where processes share a directory.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.live_since = Gauge(
            "gateway_keywords_live_timestamp_seconds",
            "when the version of the keyword library that is live was frozen, in Unix time; 0: it is not known yet",
            registry=registry or CollectorRegistry(),
            multiprocess_mode="livemax",
        )


class PeopleMetrics:
    """Who names people, and what became of the rule that counts what they say."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.identified = Counter(
            "gateway_identified_turns",
            "chats and completions by whether they named a person (`yes`, `no`)",
            ("key", "identified"),
            registry=registry,
        )
        self.strike_events = Counter(
            "gateway_strike_events",
            "what counting utterances did: `struck`, `reset`, `repeated`, `while_suspended`, `suspended_consecutive`,"
            " `suspended_daily`, `pending` (counted later, from the audit log)",
            ("event",),
            registry=registry,
        )


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry
        labels = ("model", "replica")

        def histogram(name: str, text: str, bounds: tuple[float, ...]) -> BulkHistogram:
            return BulkHistogram(name, text, labels, buckets=bounds, registry=registry)

        def gauge(
            name: str, text: str, names: tuple[str, ...], mode: Literal["livesum", "livemax"] = "livesum"
        ) -> Gauge:
            return Gauge(name, text, names, registry=registry, multiprocess_mode=mode)

        self.requests = Counter(
            "gateway_requests", "answered requests", ("route", "model", "key", "outcome"), registry=registry
        )
        self.first_token = histogram(
            "gateway_time_to_first_token_seconds", "from request to first event of a stream", SECONDS
        )
        self.inter_token = histogram(
            "gateway_inter_token_seconds", "between two reads of a stream that brought events", INTER_TOKEN
        )
        self.duration = histogram("gateway_request_seconds", "from request to the answer's last byte", SECONDS)
        self.added = histogram("gateway_added_seconds", ADDED_TEXT, ADDED)
        self.prompt_tokens = Counter("gateway_prompt_tokens", "tokens in", labels, registry=registry)
        self.completion_tokens = Counter("gateway_completion_tokens", "tokens out", labels, registry=registry)
        self.tokens_per_second = gauge(
            "gateway_tokens_per_second", "tokens out of answers that ended in the last second", labels
        )
        self.in_flight = gauge("gateway_in_flight_requests", "requests at the engine now", labels)
        self.audit = AuditMetrics(registry)
        self.build = gauge("gateway_build_info", "1, of the version that runs", ("version",), "livemax")
        self.keyword_hits = Counter(
            "gateway_keyword_hits",
            "entries of the keyword library found: in the newest words (`question`), around them (`context`),"
            " in the `answer`",
            ("where", "action", "risk"),
            registry=registry,
        )
        self.canary_verdicts = Counter(
            "gateway_keywords_canary_verdicts",
            "verdicts while a version of the keyword library is a canary: on questions, and on answers (`refuse`: cut)",
            ("where", "live", "canary"),
            registry=registry,
        )
        self.library = LibraryMetrics(registry)
        self.people = PeopleMetrics(registry)
        self._identified: dict[tuple[str, str], int] = {}
        self._strike_events: dict[str, int] = {}
        self._canary_verdicts: dict[tuple[str, str, str], int] = {}
        self._keyword_hits: dict[tuple[str, str, str], int] = {}
        self._replicas: dict[str, ReplicaNumbers] = {}
        self._turns: dict[tuple[str, str, str, str], int] = {}
        self._flushed = 0.0
        self._limited: dict[tuple[str, str, str], int] = {}
        self._about_waiting(registry)

    def _about_waiting(self, registry: CollectorRegistry) -> None:
        labels = ("model", "replica")
        self.queue = BulkHistogram(
            "gateway_queue_seconds",
            "in the queue, of requests that had to wait for a replica",
            labels,
            buckets=SECONDS,
            registry=registry,
        )
        self.queued = Gauge(
            "gateway_queued_requests",
            "requests that wait for a replica now",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.moved = Counter(
            "gateway_moved_requests",
            "requests that came to the replica after another one had failed before its first byte",
            labels,
            registry=registry,
        )
        self.limited = Counter(
            "gateway_limited_requests",
            "requests that a rate limit turned away: of the `key` or the `person` (whose), on `requests` or `tokens` a"
            " minute, or on `streams` at once (what)",
            ("key", "whose", "what"),
            registry=registry,
        )

    def replica(self, model: str, replica: str) -> ReplicaNumbers:
        """Return the numbers of one replica, to be added to."""
        found = self._replicas.get(replica)
        if found is None:
            found = self._replicas[replica] = ReplicaNumbers(model, replica)
        return found

    def turn(self, turn: Turn) -> None:
        """Count a turn that has ended."""
        labels = (turn.route, turn.model, turn.caller.label, turn.outcome.value)
        self._turns[labels] = self._turns.get(labels, 0) + 1
        if turn.model and turn.route in NAMING:
            named = (labels[2], "yes" if turn.user else "no")
            self._identified[named] = self._identified.get(named, 0) + 1
        if turn.strike is not None and turn.strike.event:
            self._strike_events[turn.strike.event] = self._strike_events.get(turn.strike.event, 0) + 1
        if turn.allowance is not None and (lacking := turn.allowance.lacking) is not None:
            limit = (labels[2], lacking.whose, lacking.what)
            self._limited[limit] = self._limited.get(limit, 0) + 1
        if not turn.replica:
            return
        numbers = self.replica(turn.model, turn.replica)
        numbers.prompt_tokens += min(max(turn.prompt_tokens, 0), MOST_TOKENS)
        numbers.completion_tokens += min(max(turn.completion_tokens, 0), MOST_TOKENS)
        numbers.added.observe(turn.added_seconds)
        numbers.moved += turn.moved
        if turn.queued_seconds >= WAITED:
            numbers.queued.observe(turn.queued_seconds)
        if turn.first_token_seconds is not None:
            numbers.first_token.observe(turn.first_token_seconds)
        if turn.seconds is not None:
            numbers.total.observe(turn.seconds)

    def keyword(self, where: Where, entry: Entry) -> None:
        """Count an entry of the keyword library that was found."""
        labels = (where.value, entry.action.value, entry.risk)
        self._keyword_hits[labels] = self._keyword_hits.get(labels, 0) + 1

    def canary_verdict(self, where: Where, live: Action, canary: Action) -> None:
        """Count what the live keyword library decided, and what the canary would have."""
        labels = (where.value, live.value, canary.value)
        self._canary_verdicts[labels] = self._canary_verdicts.get(labels, 0) + 1

    def flush(self, now: float, in_flight: dict[str, int]) -> None:
        """Move everything into prometheus_client; *now* in seconds of a monotonic clock."""
        elapsed, self._flushed = now - self._flushed, now
        turns, self._turns = self._turns, {}
        for labels, count in turns.items():
            self.requests.labels(*labels).inc(count)
        identified, self._identified = self._identified, {}
        for key, count in identified.items():
            self.people.identified.labels(*key).inc(count)
        events, self._strike_events = self._strike_events, {}
        for event, count in events.items():
            self.people.strike_events.labels(event).inc(count)
        limited, self._limited = self._limited, {}
        for limit, count in limited.items():
            self.limited.labels(*limit).inc(count)
        for found, count in self._keyword_hits.items():
            self.keyword_hits.labels(*found).inc(count)
        self._keyword_hits.clear()
        for pair, count in self._canary_verdicts.items():
            self.canary_verdicts.labels(*pair).inc(count)
        self._canary_verdicts.clear()
        for replica, numbers in self._replicas.items():
            numbers.first_token.move(self.first_token.labels(*numbers.labels))
            numbers.inter_token.move(self.inter_token.labels(*numbers.labels))
            numbers.total.move(self.duration.labels(*numbers.labels))
            numbers.added.move(self.added.labels(*numbers.labels))
            numbers.queued.move(self.queue.labels(*numbers.labels))
            moved, numbers.moved = numbers.moved, 0
            if moved:
                self.moved.labels(*numbers.labels).inc(moved)
            prompt, completion = numbers.prompt_tokens, numbers.completion_tokens
            numbers.prompt_tokens = numbers.completion_tokens = 0
            self.prompt_tokens.labels(*numbers.labels).inc(prompt)
            self.completion_tokens.labels(*numbers.labels).inc(completion)
            self.tokens_per_second.labels(*numbers.labels).set(completion / max(elapsed, 0.001))
            self.in_flight.labels(*numbers.labels).set(in_flight.get(replica, 0))

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
