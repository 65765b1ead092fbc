"""What runs is made what is wanted, with real processes, and nothing that is the same is touched."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from backends.difference import Difference
from backends.endpoint import Endpoint
from backends.errors import UnknownModel
from gateway.fleet import fleet as fleets
from gateway.fleet.fleet import Fleet
from gateway.fleet.house import House
from gateway.state import board
from tests.backends.running import alive, eventually
from tests.gateway.fleet.conftest import NODE, Machine, followed


async def test_what_is_wanted_runs_and_what_is_not_is_gone(machine: Machine) -> None:
    """One is added while another goes; the third keeps its process."""
    machine.fleet.apply([machine.deployment("a"), machine.deployment("b")])
    await machine.ready("a")
    await machine.ready("b")
    [kept], [gone] = machine.pids("a"), machine.pids("b")
    found = machine.fleet.apply([machine.deployment("a"), machine.deployment("c")])
    assert Difference(start=("c",), stop=("b",), restart=(), change=(), keep=("a",)) == found
    await machine.ready("c")
    await eventually(lambda: len(machine.fleet.groups) == 2)
    assert [kept] == machine.pids("a")
    assert not alive(gone or 0)
    with pytest.raises(UnknownModel):
        machine.pool.model("b")


async def test_a_deployment_that_leaves_ends_its_requests_first(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    [pid] = machine.pids()
    async with await machine.pool.lease("m"):
        machine.fleet.apply([])
        await eventually(lambda: machine.states() == ["draining"])
        await asyncio.sleep(0.4)
        assert alive(pid or 0)
    await eventually(lambda: not machine.fleet.groups)
    assert not alive(pid or 0)


async def test_one_that_is_wanted_again_while_it_leaves_stays(machine: Machine) -> None:
    """With the engine that it has, and other requests come in."""
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    before = machine.pids()
    async with await machine.pool.lease("m"):
        machine.fleet.apply([])
        await eventually(lambda: machine.states() == ["draining"])
        machine.fleet.apply([machine.deployment(aliases=["n"])])
        await eventually(lambda: "n" in machine.pool.models["m"][0].aliases)
        assert machine.pool.models["m"][0].state == "ready"
    await machine.settled()
    assert before == machine.pids()


async def test_one_that_is_wanted_otherwise_while_it_leaves_starts_anew(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    before = machine.pids()
    async with await machine.pool.lease("m"):
        machine.fleet.apply([])
        await eventually(lambda: machine.states() == ["draining"])
        machine.fleet.apply([machine.deployment(parallel=2)])
    await eventually(lambda: machine.states() == ["ready"] and machine.pids() != before)
    assert machine.members()[0].replica.endpoint().slots == 2


async def test_live_fields_change_while_the_engine_goes_on(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    before = machine.pids()
    machine.fleet.apply([machine.deployment(aliases=["other"], routing="affinity")])
    await eventually(lambda: machine.pool.models["m"][0].routing == "affinity")
    assert machine.pool.model("other") == "m"
    assert before == machine.pids()


async def test_two_that_change_places_wait_for_each_other(machine: Machine) -> None:
    """Both have to be gone before one of them can have what the other held."""
    machine.fleet.apply([machine.deployment("a", gpus=[0]), machine.deployment("b", gpus=[1])])
    await machine.ready("a")
    await machine.ready("b")
    before = machine.pids("a") + machine.pids("b")
    machine.fleet.apply([machine.deployment("a", gpus=[1]), machine.deployment("b", gpus=[0])])
    await eventually(
        lambda: (
            machine.states("a") == machine.states("b") == ["ready"]
            and all(pid not in before for pid in machine.pids("a") + machine.pids("b"))
        )
    )
    assert all(not alive(pid or 0) for pid in before)


async def test_a_newcomer_waits_for_the_gpu_of_one_that_leaves(machine: Machine) -> None:
    machine.fleet.apply([machine.deployment("old", gpus=[0])])
    await machine.ready("old")
    async with await machine.pool.lease("old"):
        machine.fleet.apply([machine.deployment("new", gpus=[0])])
        await asyncio.sleep(0.3)
        assert machine.states("new") == ["stopped"]
        assert not machine.fleet.groups[-1].settled
    await machine.ready("new")


async def test_what_is_to_start_is_known_at_once_to_be_coming(machine: Machine) -> None:
    """Also what has to wait for others: whoever looks must not take a gateway that begins for one without models."""
    machine.fleet.apply([machine.deployment("a", gpus=[0])])
    assert ["a#0"] == machine.fleet.coming()
    await machine.ready("a")
    assert [] == machine.fleet.coming()
    machine.fleet.apply([machine.deployment("b", gpus=[0])])
    assert ["b#0"] == machine.fleet.coming()


async def test_engines_that_were_left_are_adopted_or_ended(redis: "Redis", tmp_path: Path) -> None:
    """None is ended before it is known what is wanted, and nothing new is started beside one that is not."""

    def fleet() -> Fleet:
        house = House(tmp_path / "data", leaves=True, drain_seconds=0.2)
        return Fleet(NODE, house, board.Publisher(board.Board(redis)))

    def pids(one: Fleet) -> dict[str, int | None]:
        return {member.replica.id: member.replica.process.pid for member in one.members}

    machine = Machine(redis, tmp_path)
    before, after = fleet(), fleet()
    async with before.running():
        before.apply([machine.deployment("kept"), machine.deployment("gone")])
        await eventually(lambda: not before.coming())
        known = pids(before)
    async with after.running():
        await asyncio.sleep(0.3)
        assert all(alive(pid or 0) for pid in known.values())
        after.apply([machine.deployment("kept"), machine.deployment("new")])
        await eventually(lambda: not after.coming())
        assert known["kept#0"] == pids(after)["kept#0"]
        assert not alive(known["gone#0"] or 0)
        after.house.leaves_engines = False
    assert not alive(known["kept#0"] or 0)


async def test_what_was_ready_stays_so_until_the_next_owner_knows_better(
    redis: "Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a busy engine takes to answer its health probe, for the workers it is never away."""
    monkeypatch.setattr(fleets, "LOOK_SECONDS", 0.05)
    ill = tmp_path / "ill"
    machine = Machine(redis, tmp_path)
    wanted = [machine.deployment(environment={"FAKE_ILL": str(ill)}), machine.deployment("new")]
    before, after = (Fleet(NODE, House(tmp_path / "data", leaves=True), machine.fleet.publisher) for _ in range(2))
    ready: list[int] = []
    update = machine.pool.update

    def updated(endpoints: Iterable[Endpoint]) -> None:
        update(endpoints)
        ready.append(len(machine.pool.lines["m"].ready))

    async with followed(machine):
        async with before.running():
            before.apply(wanted[:1])
            await machine.ready()
        ill.touch()
        monkeypatch.setattr(machine.pool, "update", updated)
        async with after.running():
            after.apply(wanted)
            await machine.ready("new")
            assert (["starting"], {1}) == ([one.state.value for one in after.groups[0].members], set(ready))
            assert machine.pool.models["m"][0].port == before.members[0].replica.endpoint().port
            ill.unlink()
            await eventually(lambda: not after.coming())
            await machine.ready()
            after.house.leaves_engines = False
    assert 1 == min(ready[:-1], default=0)


async def test_an_engine_that_ended_meanwhile_is_away_at_once(redis: "Redis", tmp_path: Path) -> None:
    """What the workers knew of it counts for nothing."""
    machine = Machine(redis, tmp_path)
    async with followed(machine):
        async with machine.fleet.running():
            machine.fleet.apply([machine.deployment()])
            await machine.ready()
            document = await machine.fleet.publisher.board.read(machine.fleet.document)
        assert document is not None
        await machine.fleet.publisher.board.publish(machine.fleet.document, document[1])  # as if it had been killed
        await machine.ready()
        after = Fleet(NODE, House(tmp_path / "data"), machine.fleet.publisher)
        async with after.running():
            after.apply([machine.deployment()])
            await eventually(lambda: not machine.pool.lines["m"].ready)
            await machine.ready()
