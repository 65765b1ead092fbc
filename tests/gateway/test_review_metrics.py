"""The numbers of staff's work."""

from gateway.review_metrics import ReviewMetrics


def test_numbers_are_set() -> None:
    """By queue and by receiver; the last one counts."""
    metrics = ReviewMetrics()
    metrics.cases("appeals", 9, 9)
    metrics.cases("appeals", 3, 1)
    metrics.webhooks("https://a", 2, 4)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"gateway_{name}", labels)

    assert (3, 1) == (value("cases_open", queue="appeals"), value("cases_overdue", queue="appeals"))
    assert (2, 4) == (
        value("webhooks_pending", receiver="https://a"),
        value("webhooks_failed", receiver="https://a"),
    )
