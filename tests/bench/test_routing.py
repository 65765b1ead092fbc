"""The simulation of routing: what its policies promise, and that the page shows what it prints."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.usefixtures("untraced")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_routing", ROOT / "bench" / "routing.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [2, 3])
def test_a_mixed_pool_waits_half_as_long_at_most(simulation: ModuleType, seed: int) -> None:
    """p99 of queueing by least tokens, at 70 % load of a fast replica and one a fifth as fast, beside round robin's."""
    by_name = simulation.policies()
    found = {
        name: simulation.waits(simulation.MIXED, simulation.SLOTS, by_name[name], seed=seed)
        for name in ("`least_tokens`", "`round_robin`", "oracle")
    }
    assert found["`least_tokens`"].p99 <= found["`round_robin`"].p99 / 2
    assert found["`least_tokens`"].p99 <= 3 * found["oracle"].p99


def test_equal_replicas_wait_less_too(simulation: ModuleType) -> None:
    """Where round robin is no mistake, to count tokens is still better by half."""
    least, turns, knowing = (
        simulation.waits(simulation.EQUAL, simulation.SLOTS, simulation.policies()[name], seed=2)
        for name in ("`least_tokens`", "`round_robin`", "oracle")
    )
    assert knowing.p99 <= least.p99 <= turns.p99 / 2


@pytest.mark.parametrize("seed", [2, 3])
def test_conversations_stay_and_no_replica_has_too_much(simulation: ModuleType, seed: int) -> None:
    """Nine of ten follow-up turns come to the same replica, and none is given more than 1.25 times the mean."""
    found = simulation.stays(simulation.policies()["`affinity`"], seed=seed)
    assert found.kept >= 0.9
    assert (0, True) == (found.over_bound, found.fullest <= 1.25)


def test_the_page_shows_what_the_simulation_prints(simulation: ModuleType) -> None:
    """Row by row."""
    page = (ROOT / "docs" / "routing.md").read_text()
    for table in (
        simulation.waits_table(simulation.MIXED),
        simulation.waits_table(simulation.EQUAL),
        simulation.stays_table(),
    ):
        assert table in page
