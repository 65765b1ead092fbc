"""Who owns the engines of a machine, what is left to whom, and what is nobody's."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from backends.launch.ray_client import Absent
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


async def test_what_ran_on_a_cluster_for_nobody_is_ended_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deployment went while the gateway was away; what is wanted stays."""
    ours = House(tmp_path)
    for name in ("gone_0", "wanted_0"):
        (ours.folder / name).mkdir(parents=True)
        (ours.folder / name / "ray.json").write_text(json.dumps({"actor": name.replace("_", "#"), "grace_seconds": 1}))
    killed: list[str] = []

    async def call(name: str, *_: object) -> object:
        raise Absent(name)

    async def kill(name: str) -> None:
        killed.append(name)

    monkeypatch.setattr(ours.cluster, "call", call)
    monkeypatch.setattr(ours.cluster, "kill", kill)
    monkeypatch.setattr(House, "_drained", lambda *_: asyncio.sleep(0))
    async with ours.owned():
        await ours.clear(ours.left_over({"wanted#0"}))
        assert (["gone#0"], []) == (killed, ours.left_over({"wanted#0"}))
