"""Who owns the engines of a machine, what is left to whom, and what is nobody's."""

import signal
from pathlib import Path

import pytest

from gateway.fleet import house
from gateway.fleet.house import House
from gateway.settings import Engines


def test_what_outlives_the_control_process(tmp_path: Path) -> None:
    """Where the settings say so, and not where Ctrl-C ends it; the embedded models never do."""
    left = House(tmp_path, leaves=True)
    assert left.outlive is not None
    left.told(signal.SIGTERM)
    assert left.leaves_engines
    left.told(signal.SIGINT)
    assert not left.leaves_engines
    for ended in (House(tmp_path), House(tmp_path, leaves=True, engines=Engines(outlive="nothing"))):
        assert (ended.outlive, ended.leaves_engines) == (None, False)


async def test_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one waits for the first to end, and not for ever."""
    monkeypatch.setattr(house, "OWNER_SECONDS", 0.1)
    first, second = House(tmp_path), House(tmp_path)
    async with first.owned():
        with pytest.raises(TimeoutError):
            async with second.owned():
                pytest.fail("both have it")
    async with second.owned():
        assert not second.left_over(())
