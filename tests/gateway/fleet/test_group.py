"""The replicas of one deployment, in number and together."""

import asyncio
from pathlib import Path

import pytest

from gateway.fleet.group import UnknownReplica
from tests.backends.running import alive, eventually
from tests.gateway.fleet.conftest import Machine


async def test_replicas_come_and_go_with_their_number(machine: Machine) -> None:
    """Those that stay keep their process; the last ones go."""
    machine.fleet.apply([machine.deployment(replicas=2)])
    await machine.ready(count=2)
    first = machine.pids()
    machine.fleet.apply([machine.deployment(replicas=3)])
    await machine.ready(count=3)
    assert first == machine.pids()[:2]
    machine.fleet.apply([machine.deployment(replicas=1)])
    await eventually(lambda: len(machine.members()) == 1)
    assert [first[0]] == machine.pids()
    assert not alive(first[1] or 0)


async def test_a_replica_that_goes_ends_its_requests(machine: Machine) -> None:
    """Also where it is wanted again before: then it stays."""
    machine.fleet.apply([machine.deployment(replicas=2)])
    await machine.ready(count=2)
    before = machine.pids()
    leases = [await machine.pool.lease("m") for _ in range(8)]
    machine.fleet.apply([machine.deployment(replicas=1)])
    await eventually(lambda: machine.states() == ["ready", "draining"])
    await asyncio.sleep(0.3)
    assert machine.states() == ["ready", "draining"]
    machine.fleet.apply([machine.deployment(replicas=2)])
    await machine.ready(count=2)
    for lease in leases:
        async with lease:
            pass
    await machine.settled()
    assert (before, ["ready", "ready"]) == (machine.pids(), machine.states())


async def test_what_needs_new_engines_is_done_one_after_the_other(machine: Machine) -> None:
    """One is ready at any time."""
    machine.fleet.apply([machine.deployment(replicas=2)])
    await machine.ready(count=2)
    before = machine.pids()
    machine.fleet.apply([machine.deployment(replicas=2, parallel=7)])
    fewest = 2
    while not machine.fleet.groups[0].settled:
        fewest = min(fewest, machine.states().count("ready"))
        await asyncio.sleep(0.005)
    assert fewest == 1
    assert not set(before) & set(machine.pids())
    assert [7, 7] == [member.replica.endpoint().slots for member in machine.members()]


async def test_where_one_fails_the_others_stay_as_they_were(machine: Machine) -> None:
    """A wrong setting does not take a whole model down."""
    machine.fleet.apply([machine.deployment(replicas=3)])
    await machine.ready(count=3)
    before = machine.pids()
    broken = machine.folder / "broken"
    broken.touch()
    machine.fleet.apply([machine.deployment(replicas=3, environment={"FAKE_BROKEN": str(broken)})])
    [group] = machine.fleet.groups
    await eventually(lambda: group.trouble is not None)
    assert ["failed", "ready", "ready"] == machine.states()
    assert before[1:] == machine.pids()[1:]
    assert "2 more were left as they were" in str(group.trouble)
    broken.unlink()
    group.restart()
    await machine.settled()
    assert ["ready"] * 3 == machine.states()
    assert not set(before) & set(machine.pids())
    assert group.trouble is None


async def test_stop_breaks_off_and_start_brings_back(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [group] = machine.fleet.groups
    async with await machine.pool.lease("m"):
        group.stop()
        await eventually(lambda: machine.states() == ["stopped"])
    group.start()
    await machine.ready()


async def test_what_is_stopped_stays_so_through_changes(machine: Machine) -> None:
    """And goes by them when it starts."""
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [group] = machine.fleet.groups
    group.drain()
    await machine.settled()
    machine.fleet.apply([machine.deployment(replicas=2, parallel=5)])
    await machine.settled()
    assert ["stopped", "stopped"] == machine.states()
    group.start()
    await machine.ready(count=2)
    assert [5, 5] == [member.replica.endpoint().slots for member in machine.members()]


async def test_an_unknown_replica_is_said_to_be(machine: Machine, tmp_path: Path) -> None:
    del tmp_path
    machine.fleet.apply([machine.deployment()])
    with pytest.raises(UnknownReplica):
        machine.fleet.groups[0].member(1)
