from backends.breaker import FAILURES, PAUSES, Breaker


def opened(breaker: Breaker, now: float = 0.0) -> Breaker:
    breaker.failed(breaker.begin(), now, dead=True)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    """A success between them begins the count anew."""
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker.failed(breaker.begin(), 0.0)
    breaker.succeeded(breaker.begin())
    for _ in range(FAILURES - 1):
        breaker.failed(breaker.begin(), 0.0)
    assert breaker.allows(0.0)
    breaker.failed(breaker.begin(), 0.0)
    assert not breaker.allows(PAUSES[0] - 0.01)


def test_nobody_there_opens_it_at_once() -> None:
    """A refused connection needs no second opinion."""
    assert not opened(Breaker()).allows(0.5)


def test_half_open_lets_one_request_through() -> None:
    """Until it has answered nobody else is sent there; then all are."""
    breaker = opened(Breaker())
    assert breaker.allows(PAUSES[0])
    number = breaker.begin()
    assert not breaker.allows(PAUSES[0])
    breaker.succeeded(number)
    assert breaker.until is None and breaker.allows(PAUSES[0])


def test_pauses_grow_and_a_success_makes_them_short_again() -> None:
    """Each failed probe doubles the patience, up to the longest."""
    breaker, now = opened(Breaker()), 0.0
    for pause in (*PAUSES, PAUSES[-1]):
        assert breaker.until == now + pause
        now += pause
        breaker.failed(breaker.begin(), now)
    assert breaker.until is not None
    breaker.succeeded(breaker.begin())
    assert opened(breaker, 1000.0).until == 1000.0 + PAUSES[0]


def test_what_began_before_the_opening_is_no_verdict() -> None:
    """A replica that dies under many streams has died once; a last word of an old one does not revive it."""
    breaker = Breaker()
    numbers = [breaker.begin() for _ in range(64)]
    for number in numbers:
        breaker.failed(number, 0.0, dead=True)
    assert breaker.until == PAUSES[0]
    breaker.succeeded(numbers[0])
    assert not breaker.allows(0.5)


def test_a_probe_whose_client_leaves_is_no_verdict() -> None:
    """The next request tries instead."""
    breaker = opened(Breaker())
    breaker.left(breaker.begin())
    assert breaker.allows(PAUSES[0])
    assert breaker.until is not None
