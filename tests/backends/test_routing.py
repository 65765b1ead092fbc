from collections import Counter
from itertools import count
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.endpoint import Endpoint
from backends.load import NO_SIGNALS, Ask, Load, Signals
from backends.routing import BOUND, POLICIES, affinity, drain_seconds, least_tokens, round_robin

ASK = Ask(tokens=100)


def load(name: str, tokens: int = 0, requests: int = 0, speed: float = 0.0, signals: Signals = NO_SIGNALS) -> Load:
    endpoint = Endpoint(replica=name, model="m", engine="vllm", served_name="m", host="127.0.0.1", port=1)
    one = Load(endpoint, 1024)
    one.tokens, one.requests, one.speed, one.signals = tokens, requests, speed, signals
    return one


def name_of(one: Load) -> str:
    return one.endpoint.replica


def three() -> list[Load]:
    return [load("a"), load("b"), load("c")]


def test_fewest_outstanding_tokens_win() -> None:
    """Tokens decide, not requests: one long answer is more work than three short ones."""
    loads = [load("a", 4000, 1), load("b", 900, 3), load("c", 3000, 2)]
    assert "b" == name_of(least_tokens(loads, ASK, 0))


def test_a_mixed_pool_goes_by_drain_time() -> None:
    """A replica five times as fast takes five times the tokens before the slow one is asked."""
    slow = load("slow", speed=20)
    assert "fast" == name_of(least_tokens([load("fast", 300, 3, speed=100), slow], ASK, 0))
    assert "slow" == name_of(least_tokens([load("fast", 600, 6, speed=100), slow], ASK, 0))


def test_what_is_not_measured_yet_is_tried() -> None:
    """An unknown replica counts as one of the fastest."""
    assert "new" == name_of(least_tokens([load("known", 100, 1, speed=100), load("new")], ASK, 0))
    assert "known" == name_of(least_tokens([load("known", speed=100), load("new", 100, 1)], ASK, 0))


def test_what_an_engine_says_of_itself_counts() -> None:
    """Requests that came past this worker are work, too; a full cache makes all of it slower."""
    assert "b" == name_of(least_tokens([load("a", signals=Signals(others=3)), load("b", 200, 2)], ASK, 0))
    assert "b" == name_of(least_tokens([load("a", signals=Signals(cache=0.99)), load("b", 60, 1)], ASK, 0))
    assert drain_seconds(load("a", 100, 1), ASK, 50.0) == 4.0


def test_a_conversation_stays_where_its_cache_is() -> None:
    """Among equals the same key has the same replica, in whatever order they come; keys are spread over all."""
    chosen = {key: name_of(least_tokens(three(), Ask(1, key=key), 0)) for key in map(str, range(60))}
    assert chosen == {key: name_of(least_tokens(three()[::-1], Ask(1, key=key), 7)) for key in chosen}
    assert {"a", "b", "c"} == set(chosen.values())


def test_of_equals_two_are_drawn_and_the_better_one_is_taken() -> None:
    """Without a key chance draws, all of them; of the two drawn, the one with fewer requests is asked."""
    drawn = Counter(name_of(least_tokens(three(), ASK, number)) for number in range(300))
    assert {"a", "b", "c"} == set(drawn)
    assert min(drawn.values()) > 70
    busy = [load("a", requests=5), load("b"), load("c", requests=5)]
    taken = Counter(name_of(least_tokens(busy, ASK, number)) for number in range(300))
    assert taken["b"] > taken["a"] + taken["c"]


def test_round_robin_takes_turns() -> None:
    """Whatever the load."""
    assert "abcab" == "".join(name_of(round_robin(three(), ASK, number)) for number in range(5))


def test_affinity_keeps_a_key_on_its_replica() -> None:
    """Though another has less to do; a replica that goes moves its own keys alone."""
    keys = [str(i) for i in range(200)]
    before = {key: name_of(affinity(three(), Ask(1, key=key), 0)) for key in keys}
    assert min(Counter(before.values()).values()) > 40
    after = {key: name_of(affinity(three()[:2], Ask(1, key=key), 0)) for key in keys}
    assert all(after[key] == before[key] for key in keys if before[key] != "c")
    key = next(key for key in keys if before[key] == "a")
    loads = [load("a", 900, 11), load("b", 0, 10), load("c", 0, 10)]
    assert "a" == name_of(affinity(loads, Ask(1, key=key), 0))


def test_affinity_without_a_key_goes_by_tokens() -> None:
    """There is no cache to go by."""
    assert "b" == name_of(affinity([load("a", 100, 1), load("b")], ASK, 0))


@given(st.lists(st.text(max_size=3), min_size=1, max_size=200), st.integers(2, 7))
def test_affinity_never_exceeds_its_bound(keys: list[str], replicas: int) -> None:
    """Whatever the keys, no replica is given more than 1.25 times the mean, rounded up to whole requests."""
    loads = [load(str(i)) for i in range(replicas)]
    for total, key in enumerate(keys, 1):
        chosen = affinity(loads, Ask(1, key=key or "x"), 0)
        chosen.requests += 1
        assert chosen.requests <= ceil(BOUND * total / replicas)


def test_the_bound_of_a_slow_replica_is_lower() -> None:
    """Its share goes by its speed."""
    loads = [load("fast", speed=100), load("slow", speed=20)]
    for i in range(120):
        affinity(loads, Ask(1, key=str(i)), 0).requests += 1
    assert loads[1].requests <= ceil(BOUND * 120 / 6)


@pytest.mark.parametrize("policy", POLICIES.values())
def test_one_replica_is_the_choice(policy: object) -> None:
    """Of one, every policy takes it."""
    only = load("a", 10**6, 1000)
    numbers = count()
    assert callable(policy)
    assert policy([only], Ask(1, key="k"), next(numbers)) is only
