"""The metrics of the control process that speak of replicas; what each says of itself is its meaning in docs."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from backends.endpoint import ReplicaState
from gateway.fleet.member import Member

LABELS = ("model", "replica")


class FleetMetrics:
    """Gauges and a counter that follow the replicas.

    Without a *registry* they are nobody's but the scrape's, where processes share a directory.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry

        def gauge(name: str, text: str, labels: tuple[str, ...] = LABELS) -> Gauge:
            return Gauge(f"gateway_replica_{name}", text, labels, registry=registry, multiprocess_mode="livemax")

        self._state = gauge(
            "state",
            "1, of the state that the replica has: `starting`, `ready`, `draining`, `stopped` or `failed`; else 0",
            (*LABELS, "state"),
        )
        self._load = gauge("load_seconds", "from its start to its being ready, the last time; 0: it was not ready yet")
        self._ready = gauge("ready_timestamp_seconds", "when it was ready last, in Unix time; 0: it was not yet")
        self._restarts = Counter(
            "gateway_replica_restarts",
            "times that it was started again by itself, after it had been ready",
            LABELS,
            registry=registry,
        )
        self._counted: dict[tuple[str, str], int] = {}
        self._known: set[tuple[str, str]] = set()

    def take(self, members: Iterable[Member]) -> None:
        """Show what *members* are like now; of replicas that are gone no state is left."""
        seen = set()
        for member in members:
            labels = (member.deployment.model, member.replica.id)
            seen.add(labels)
            for state in ReplicaState:
                self._state.labels(*labels, state.value).set(state is member.state)
            self._load.labels(*labels).set(member.record.load_seconds or 0)
            self._ready.labels(*labels).set(member.record.ready_at or 0)
            self._restarts.labels(*labels).inc(max(0, member.record.restarts - self._counted.get(labels, 0)))
            self._counted[labels] = member.record.restarts
        for labels in self._known - seen:
            for state in ReplicaState:
                self._state.labels(*labels, state.value).set(0)
            del self._counted[labels]
        self._known = seen
