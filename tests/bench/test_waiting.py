"""The simulation of the queue: what it promises, and that the page shows what it prints."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.usefixtures("untraced")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_waiting", ROOT / "bench" / "waiting.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_burst_costs_the_others_little(simulation: ModuleType, seed: int) -> None:
    """Beside first come, first served they wait half as long at p99 or less, and nobody of them is turned away."""
    requests = simulation.coming(seed)
    plain, fair = (simulation.play(requests, fair=fair)["others"] for fair in (False, True))
    waits = [sorted(found.waits)[int(0.99 * len(found.waits))] for found in (plain, fair)]
    assert waits[1] <= waits[0] / 2
    assert 0 == fair.turned_away


def test_the_page_shows_what_the_simulation_prints(simulation: ModuleType) -> None:
    """Row by row."""
    assert simulation.table() in (ROOT / "docs" / "routing.md").read_text()
