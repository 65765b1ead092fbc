"""The metrics of the control process that speak of appeals, complaints and webhooks."""

from prometheus_client import CollectorRegistry, Gauge


class ReviewMetrics:
    """Gauges that the control process sets; what each says of itself is its meaning in docs/metrics.md."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.registry = registry

        def gauge(name: str, text: str, labels: tuple[str, ...]) -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode="livemax")

        self._open = gauge("gateway_cases_open", "open `appeals` and `complaints`", ("queue",))
        self._overdue = gauge("gateway_cases_overdue", "open `appeals` and `complaints` whose time is over", ("queue",))
        self._pending = gauge("gateway_webhooks_pending", "messages that wait to be delivered", ("receiver",))
        self._failed = gauge(
            "gateway_webhooks_failed", "messages that were given up, of the last 30 days", ("receiver",)
        )

    def cases(self, queue: str, count: int, overdue: int) -> None:
        """Set the numbers of one queue."""
        self._open.labels(queue).set(count)
        self._overdue.labels(queue).set(overdue)

    def webhooks(self, receiver: str, pending: int, failed: int) -> None:
        """Set the numbers of one receiver of webhooks."""
        self._pending.labels(receiver).set(pending)
        self._failed.labels(receiver).set(failed)
