"""The end of a ban by its time, on both databases."""

import time

import pytest
from sqlalchemy import func, select, update

from gateway.audit.entries import AnyRecord, Person
from gateway.audit.sinks import Heard
from gateway.people import endings
from gateway.people.directory import person_id
from gateway.people.endings import Endings
from gateway.people.errors import MeasureRefused
from gateway.people.tables import people_bans
from gateway.webhooks.events import message
from tests.gateway.people.conftest import World

ANN, BOB, EVE = (person_id("t", name) for name in ("ann", "bob", "eve"))
NOW = int(time.time())


async def banned(world: World, until: int | None, *names: str) -> None:
    """Ban people of the tenant; a time that is over is set behind the back of the rules."""
    for name in names:
        person = await world.people.look_up("t", name)
        await world.people.ban(person, None, "rude", "eve")
        newest = select(func.max(people_bans.c.number)).where(people_bans.c.person == person).scalar_subquery()
        change = update(people_bans).where(people_bans.c.number == newest)
        async with world.engine.begin() as connection:
            await connection.execute(change.values(until=until))


def ends(world: World) -> list[Person]:
    return [one for one in world.records() if isinstance(one, Person) and one.kind == "unban"]


def told(records: list[Person]) -> list[tuple[str, int]]:
    """Return id and moment of what receivers are told."""
    heard: list[AnyRecord] = list(records)
    messages = [message(Heard("n-control0", seq, one)) for seq, one in enumerate(heard, 1)]
    return [(one.id, one.at) for one in messages if one is not None]


async def test_a_ban_that_runs_out_is_told_once(world: World) -> None:
    """Whenever that is seen, with the moment of its end; one that holds, has no end or was ended is not."""
    await banned(world, NOW - 500, "ann")
    await banned(world, NOW + 500, "bob")
    await banned(world, None, "eve")
    await world.people.unban(EVE, "enough", "eve")
    before = len(ends(world))
    assert [await Endings(world.engine, world.writer).step(NOW) for _ in range(3)] == [1, 0, 0]
    [end] = ends(world)[before:]
    assert (end.person, end.by, told([end])[0][1]) == (ANN, "gateway", NOW - 500)
    [ban] = (await world.services.roster.show(ANN))["bans"]
    assert (ban["ended_at"], ban["ended_by"]) == (NOW - 500, "gateway")
    with pytest.raises(MeasureRefused):
        await world.people.unban(ANN, "r", "eve")


async def test_whoever_was_banned_anew_is_banned(world: World) -> None:
    """The ban before it ran out a moment ago: that it is over is not told behind the newer one."""
    await banned(world, NOW - 5, "ann")
    await banned(world, None, "ann")
    assert [await Endings(world.engine, world.writer).step(NOW) for _ in range(2)] == [1, 0]
    assert ends(world) == []
    assert (await world.services.roster.show(ANN))["ban"] is not None


async def test_one_whose_transaction_failed_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on record twice, under one id."""
    await banned(world, NOW - 5, "ann")
    work = Endings(world.engine, world.writer)
    begin = work.journal.begin

    async def failed(*records: Person) -> None:
        await begin(*records)
        raise OSError("the database went away")

    with monkeypatch.context() as patched:
        patched.setattr(work.journal, "begin", failed)
        with pytest.raises(OSError, match="went away"):
            await work.step(NOW)
    assert await Endings(world.engine, world.writer).step(NOW) == 1
    assert len(ends(world)) == 2
    assert len(set(told(ends(world)))) == 1


async def test_many_are_told_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their ends."""
    monkeypatch.setattr(endings, "AT_ONCE", 2)
    for i, name in enumerate("cba"):
        await banned(world, NOW - i, name)
    work = Endings(world.engine, world.writer)
    assert [await work.step(NOW) for _ in range(3)] == [2, 1, 0]
    assert [one.person for one in ends(world)] == [person_id("t", name) for name in "abc"]
