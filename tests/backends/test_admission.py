import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.admission import LONGEST_RETRY, SPARE, FairQueue, Full, Place
from backends.load import Ask, Priority


def ask(person: str = "p", tokens: int = 100, priority: Priority = Priority.NORMAL) -> Ask:
    return Ask(tokens, person, priority)


def filled(*asks: Ask, most: int = 100) -> FairQueue:
    queue = FairQueue(most, 30.0)
    for one in asks:
        queue.enter(one, 0.0)
    return queue


def served(queue: FairQueue, now: float = 0.0) -> Place:
    place = queue.first()
    assert place is not None
    queue.serve(place, now)
    return place


def people(queue: FairQueue, count: int) -> str:
    return "".join(served(queue).ask.person for _ in range(count))


def test_one_person_is_served_in_order() -> None:
    """First come, first served."""
    queue = filled(*(ask(tokens=n) for n in (300, 100, 200)))
    assert [300, 100, 200] == [served(queue).ask.tokens for _ in range(3)]
    assert queue.first() is None and len(queue) == 0


def test_a_burst_does_not_starve_others() -> None:
    """Who comes after somebody's hundred requests waits for one of them, not for a hundred."""
    queue = filled(*[ask("a")] * 100, most=200)
    served(queue)
    queue.enter(ask("b"), 1.0)
    queue.enter(ask("c"), 1.0)
    assert {"a": 1, "b": 1, "c": 1} == Counter(people(queue, 3))


def test_tokens_count_not_requests() -> None:
    """Who asks for answers three times as long has a third as many of them."""
    queue = filled(*[ask("a", 300)] * 20, *[ask("b", 100)] * 60)
    counted = Counter(people(queue, 40))
    assert 28 <= counted["b"] <= 32


def test_new_people_do_not_hold_up_the_second_request_of_others() -> None:
    """Somebody's second request waits for about one of everybody, not for as long as new people come."""
    queue = filled(ask("a"), ask("a"), *(ask(f"n{i}") for i in range(8)))
    seen = []
    for i in range(40):
        queue.enter(ask(f"m{i}"), 0.0)
        seen.append(served(queue).ask.person)
    assert seen.index("a", 1) <= 20


def test_waiting_earns_no_credit() -> None:
    """Somebody new is not owed what others had before they came."""
    queue = filled(*[ask("a")] * 50)
    people(queue, 30)
    for _ in range(10):
        queue.enter(ask("b"), 0.0)
    assert 4 <= Counter(people(queue, 10))["b"] <= 6


@given(st.integers(0, 2**32), st.integers(2, 5))
def test_shares_stay_within_one_request_of_each(seed: int, number: int) -> None:
    """Of people who always have something waiting, none is ahead of another by more than a request of each."""
    draw = random.Random(seed)  # noqa: S311 - a test
    names = "abcde"[:number]
    queue = filled(*(ask(name, draw.randint(1, 1000)) for name in names for _ in range(40)), most=1000)
    had: defaultdict[str, int] = defaultdict(int)
    for _ in range(30):
        place = served(queue)
        had[place.ask.person] += place.ask.tokens
        assert max(had[name] for name in names) - min(had[name] for name in names) <= 2 * 1000


def test_the_more_urgent_go_first() -> None:
    """Always, and each priority is fair by itself; first of all those whose replica has died."""
    queue = filled(ask("low", priority=Priority.LOW), ask("a"), ask("high", priority=Priority.HIGH), ask("a"), ask("b"))
    queue.enter(ask("again", priority=Priority.AGAIN), 0.0)
    assert ["again", "high", "a", "b", "a", "low"] == [served(queue).ask.person for _ in range(6)]


def test_a_full_queue_takes_nobody_who_has_as_much_as_the_others() -> None:
    """Its bound holds; a queue without places takes nobody at all."""
    queue = filled(*[ask("a")] * 2, *[ask("b")] * 2, most=4)
    with pytest.raises(Full):
        queue.enter(ask("a"), 0.0)
    with pytest.raises(Full):
        filled(most=0).enter(ask("a"), 0.0)
    assert len(queue) == 4


def test_a_newcomer_takes_the_last_place_of_who_has_most() -> None:
    """A burst that fills the queue turns its own end away, not other people; and it costs them no turn later."""
    queue = filled(*(ask("a", tokens=n) for n in (1, 2, 3, 4)), most=4)
    entered = queue.enter(ask("b"), 0.0)
    assert entered.pushed_out is not None and entered.pushed_out.ask.tokens == 4
    assert len(queue) == 4 and not entered.pushed_out.waits
    queue.enter(ask("b"), 0.0)
    with pytest.raises(Full):
        queue.enter(ask("b"), 0.0)
    assert {"a": 2, "b": 2} == Counter(people(queue, 4))


def test_the_urgent_push_out_the_less_urgent() -> None:
    """Whoever has them; nobody pushes out who is more urgent."""
    queue = filled(ask("low", priority=Priority.LOW), ask("b"), ask("b"), most=3)
    entered = queue.enter(ask("b"), 0.0)
    assert entered.pushed_out is not None and entered.pushed_out.ask.person == "low"
    with pytest.raises(Full):
        queue.enter(ask("low", priority=Priority.LOW), 0.0)


def test_who_waits_too_long_is_let_go() -> None:
    """At their deadline, in the order of their coming, whatever the priority."""
    queue = FairQueue(10, 30.0)
    first = queue.enter(ask("a", priority=Priority.LOW), 0.0).place
    second = queue.enter(ask("b"), 5.0).place
    assert queue.due() == 30.0
    assert [] == queue.expire(29.9)
    assert [first] == queue.expire(30.0)
    assert queue.due() == 35.0
    assert served(queue) is second
    assert queue.due() is None and queue.expire(100.0) == []


def test_who_leaves_is_passed_over() -> None:
    """A client that has gone holds up nobody; leaving twice is leaving."""
    queue = FairQueue(10, 30.0)
    first = queue.enter(ask("a"), 0.0).place
    second = queue.enter(ask("b"), 0.0).place
    queue.leave(first)
    queue.leave(first)
    assert (1, second) == (len(queue), served(queue))


def test_a_retry_is_told_for_when_the_queue_is_served() -> None:
    """By the pace at which it is; between a second and a minute."""
    queue = filled(*[ask()] * 20)
    assert queue.retry_after() == 1
    for i in range(15):
        served(queue, i * 2.0)
    assert 4 <= queue.retry_after() <= 12
    for i in range(4):
        served(queue, 100.0 + i * 3600)
    assert queue.retry_after() == LONGEST_RETRY


def test_what_has_left_takes_no_memory() -> None:
    """Neither places of those who have gone, nor people who have nothing to make up for."""
    queue = filled(ask("first"), most=50)
    for i in range(5000):
        queue.leave(queue.enter(ask(f"p{i}"), 0.0).place)
    level = queue._levels[Priority.NORMAL]
    assert len(level.heap) <= 2 * len(queue) + SPARE + 1
    for i in range(5000):
        queue.enter(ask(f"q{i}", 1), 0.0)
        served(queue)
    assert len(level.flows) <= 4 * queue.most + 1


@given(st.lists(st.tuples(st.sampled_from("esxl"), st.sampled_from("abc"), st.integers(1, 9)), max_size=200))
def test_nobody_is_lost_and_nobody_comes_twice(steps: list[tuple[str, str, int]]) -> None:
    """Whatever happens in whatever order: who entered is served, expired, has left, was pushed out, or waits."""
    queue, waiting, now = FairQueue(5, 10.0), set[Place](), 0.0
    for what, person, n in steps:
        now += n
        priority = Priority(1 + n % 3)
        if what == "e":
            try:
                entered = queue.enter(ask(person, n, priority), now)
            except Full:
                assert len(waiting) == 5
                continue
            waiting.add(entered.place)
            if entered.pushed_out is not None:
                waiting.remove(entered.pushed_out)
        elif what == "s" and waiting:
            place = served(queue, now)
            assert place.ask.priority == min(other.ask.priority for other in waiting)
            waiting.remove(place)
        elif what == "x":
            late = queue.expire(now)
            assert set(late) == {place for place in waiting if place.deadline <= now}
            waiting.difference_update(late)
        elif what == "l" and waiting:
            place = min(waiting)
            queue.leave(place)
            waiting.remove(place)
        assert len(queue) == len(waiting)
