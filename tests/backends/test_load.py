import pytest

from backends.endpoint import Endpoint
from backends.load import FEWEST_ANSWERS, FEWEST_TOKENS, Load, share


def load() -> Load:
    return Load(Endpoint(replica="a", model="m", engine="vllm", served_name="m", host="127.0.0.1", port=1), 8)


@pytest.mark.parametrize(
    ("slots", "workers", "expected"),
    [(4, 1, [4]), (4, 2, [2, 2]), (7, 3, [3, 2, 2]), (2, 3, [1, 1, 1]), (1, 1, [1])],
)
def test_slots_are_shared_out(slots: int, workers: int, expected: list[int]) -> None:
    """All of them, none twice; where there are too few, each worker still has one."""
    assert expected == [share(slots, index, workers) for index in range(workers)]


def test_the_speed_is_that_of_an_engine_with_little_to_do() -> None:
    """It follows faster answers at once and slower ones slowly: those had others beside them."""
    one = load()
    for _ in range(FEWEST_ANSWERS):
        assert 0 == one.speed
        one.measured(100, 2.0)
    assert 50 == one.speed
    for _ in range(5):
        one.measured(100, 10.0)
    assert 45 < one.speed < 50
    for _ in range(20):
        one.measured(1000, 10.0)
    assert 99 < one.speed <= 100


def test_answers_that_say_nothing_of_speed_are_not_measured() -> None:
    """A word is mostly prefill; no time, or more tokens than there are, is somebody's fault."""
    one = load()
    for _ in range(FEWEST_ANSWERS):
        one.measured(FEWEST_TOKENS - 1, 1.0)
        one.measured(1000, 0.0)
        one.measured(10**400, 1.0)
        one.measured(-(10**400), 1.0)
    assert 0 == one.speed
