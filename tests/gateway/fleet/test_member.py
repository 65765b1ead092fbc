"""One replica and the orders that it gets."""

import asyncio
import os
import signal

import pytest

from backends.endpoint import ReplicaState
from backends.errors import NoReplica
from gateway.fleet.member import Record
from gateway.fleet.view import engine_pid
from tests.backends.running import eventually
from tests.gateway.fleet.conftest import Machine


async def test_a_drain_has_so_many_seconds(machine: Machine) -> None:
    """Then running answers break off."""
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [member] = machine.members()
    async with await machine.pool.lease("m"):
        member.drain(0.3)
        assert await member.reached() is ReplicaState.STOPPED


async def test_a_drain_is_called_off_by_a_start(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [member] = machine.members()
    pid = member.replica.process.pid
    async with await machine.pool.lease("m"):
        member.drain()
        await eventually(lambda: not machine.pool.lines["m"].ready)
        member.start()
        await machine.ready()
    assert pid == member.replica.process.pid


async def test_a_drain_is_hurried_by_a_stop(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [member] = machine.members()
    async with await machine.pool.lease("m"):
        member.drain()
        await eventually(lambda: member.state is ReplicaState.DRAINING)
        member.stop()
        assert await member.reached() is ReplicaState.STOPPED


async def test_the_newest_order_counts(machine: Machine) -> None:
    """Whatever came before it, and however quickly."""
    machine.fleet.apply([machine.deployment()])
    [member] = machine.members()
    for _ in range(3):
        member.stop()
        await asyncio.sleep(0.02)
        member.start()
        await asyncio.sleep(0.02)
        member.restart()
        await asyncio.sleep(0.02)
    assert await member.reached() is ReplicaState.READY
    member.start()
    member.drain()
    assert await member.reached() is ReplicaState.STOPPED


async def test_an_engine_that_dies_while_it_drains_ends_the_drain(machine: Machine) -> None:
    """Nothing is started anew for it in the end."""
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [member] = machine.members()
    async with await machine.pool.lease("m"):
        member.drain()
        await eventually(lambda: member.state is ReplicaState.DRAINING)
        os.kill(engine_pid(member.replica.process.pid) or 0, signal.SIGKILL)
        await asyncio.sleep(0.2)
    assert await member.reached() is ReplicaState.STOPPED


async def test_restarts_by_itself_are_counted_and_ordered_ones_are_not(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [member] = machine.members()
    member.restart()
    assert await member.reached() is ReplicaState.READY
    assert member.record.restarts == 0
    os.kill(engine_pid(member.replica.process.pid) or 0, signal.SIGKILL)
    await eventually(lambda: member.record.restarts == 1 and member.state is ReplicaState.READY)
    assert (member.record.load_seconds or 0) > 0


@pytest.mark.parametrize("engine", [1, None])
def test_a_shim_that_is_gone_has_no_engine(engine: int | None) -> None:
    assert engine_pid(2**22 + 1 if engine else None) is None


def test_a_record_knows_how_long_a_model_loads() -> None:
    record = Record()
    for state, now in (("starting", 10.0), ("ready", 14.0), ("starting", 20.0), ("starting", 21.0), ("ready", 23.5)):
        record.take(ReplicaState(state), now)
    assert (3.5, 23.5, 1) == (record.load_seconds, record.ready_at, record.restarts)


async def test_one_that_is_loaded_on_demand(machine: Machine) -> None:
    """It sleeps and counts as settled; a request wakes it, a stop does not let it, and pinned it is loaded at once."""
    machine.fleet.apply([machine.deployment(idle_seconds=0.3)])
    await machine.settled()
    [member] = machine.members()
    assert (member.replica.asleep, machine.states(), machine.fleet.coming()) == (True, ["stopped"], [])
    await eventually(lambda: "m" in machine.pool.models)
    async with await machine.pool.lease("m"):
        assert machine.states() == ["ready"]
    await eventually(lambda: member.replica.asleep)
    machine.fleet.apply([machine.deployment(idle_seconds=0.4)])
    member.restart()
    assert (await member.reached(), member.replica.asleep) == (ReplicaState.STOPPED, True)
    member.stop()
    await member.reached()
    await eventually(lambda: not machine.pool.models["m"][0].wakes)
    with pytest.raises(NoReplica):
        await machine.pool.lease("m")
    member.start()
    await member.reached()
    assert member.replica.asleep
    machine.fleet.apply([machine.deployment(idle_seconds=0.4, pinned=True)])
    await machine.ready()
