"""What workers report, put together."""

from backends.traffic import NoTraffic, Report, Reports, Usage


def report(replica: str = "m#0", *wanted: str, **fields: float) -> Report:
    usage = {"ready": False, "requests": 0, "taken": 0, "since": 1.0, "silent": None, **fields}
    return Report({replica: Usage(**usage)}, list(wanted))  # type: ignore[arg-type]


def test_drained_when_all_workers_have_said_so() -> None:
    """One that may send more, still has one, or has not come yet keeps it busy."""
    reports = Reports(2)
    assert reports.busy("m#0")
    reports.take("a", report())
    assert reports.busy("m#0")
    reports.take("b", report(ready=True))
    assert reports.busy("m#0")
    reports.take("b", report(requests=1))
    assert reports.busy("m#0")
    reports.take("b", report("another"))
    assert not reports.busy("m#0")


def test_who_has_heard_of_an_older_change_may_have_heard_of_a_later_one() -> None:
    """Drained, taken back and drained again: what a worker said of the first time is nothing for the second."""
    reports = Reports(1)
    reports.take("a", report(since=1.0))
    assert [False, True, False] == [reports.busy("m#0", since) for since in (1.0, 2.0, None)]
    reports.take("a", report(since=2.0))
    assert not reports.busy("m#0", 2.0)
    reports.take("a", report("another"))
    assert reports.busy("m#0", 2.0)


def test_a_worker_that_ends_has_nothing_left() -> None:
    """And the one that takes its place is waited for."""
    reports = Reports(1)
    reports.take("a", report(requests=5))
    reports.lose("a")
    reports.lose("never seen")
    assert reports.busy("m#0")
    reports.take("b", report())
    assert not reports.busy("m#0")


def test_silence_is_that_of_whoever_heard_last() -> None:
    """None where nobody waits."""
    reports = Reports(2)
    assert reports.silence("m#0") is None
    reports.take("a", report(requests=1, silent=50.0))
    reports.take("b", report(requests=1, silent=2.0))
    assert reports.silence("m#0") == 2.0
    reports.take("b", report())
    assert reports.silence("m#0") == 50.0


def test_activity_changes_with_each_request() -> None:
    """Also with those of a worker that has ended since, whose last ones nobody saw."""
    reports = Reports(2)
    reports.take("a", report(taken=3, requests=2))
    reports.take("b", report(taken=4))
    assert reports.activity("m#0") == (2, 7)
    reports.lose("a")
    assert reports.activity("m#0") == (0, 8)


def test_what_is_wanted() -> None:
    """By any worker, until it says otherwise."""
    reports = Reports(2)
    reports.take("a", report("m#0", "m", "n"))
    assert reports.came.is_set()
    assert reports.wanted() == {"m", "n"}
    reports.take("a", report())
    assert reports.wanted() == set()


def test_without_workers() -> None:
    """Nobody sends anything."""
    assert (NoTraffic().busy("m#0"), NoTraffic().silence("m#0")) == (False, None)
