"""Whose names are known."""

from typing import Any

from sqlalchemy import select

from gateway.audit.entries import Accepted, Torn
from gateway.audit.sinks import Heard
from gateway.people.directory import person_id
from gateway.people.seen import LONGEST_NAME, Seen
from gateway.people.tables import people
from tests.gateway.people.conftest import World

HOUR = 3_600
ANN = person_id("t", "ann")


def said(user: str, at: int, person: str | None = None) -> Heard:
    """Return the begin of a turn at *at* (Unix seconds)."""
    who = person_id("t", user) if person is None else person
    return Heard("w0", 1, Accepted(at=at * 1_000, id="x", route="chat", key="k", tenant="t", user=user, person=who))


async def rows(world: World, *heard: Heard) -> dict[str, Any]:
    """Have the sink hear, and return the table."""
    async with world.engine.begin() as connection:
        await Seen().take(connection, heard)
        return {row.id: tuple(row)[2:] for row in await connection.execute(select(people))}


async def test_whoever_speaks_is_known(world: World) -> None:
    """By name, with the moment of the first turn and the hour of the last, in whatever order the writers are read."""
    assert await rows(world, said("ann", 5 * HOUR + 7), said("ann", 9 * HOUR)) == {ANN: ("ann", 5 * HOUR + 7, 9 * HOUR)}
    assert (await rows(world, said("ann", 7 * HOUR)))[ANN] == ("ann", 5 * HOUR + 7, 9 * HOUR)
    assert (await rows(world, said("ann", 5 * HOUR + 3)))[ANN] == ("ann", 5 * HOUR + 3, 9 * HOUR)
    assert (await rows(world, said("ann", 9 * HOUR + 5)))[ANN] == ("ann", 5 * HOUR + 3, 9 * HOUR)
    assert (await rows(world, said("ann", 2 * HOUR), said("ann", 10 * HOUR)))[ANN] == ("ann", 2 * HOUR, 10 * HOUR)
    assert await rows(world, Heard("w0", 1, Torn(at=1, bytes=1, sha256=""))) == await rows(world)


async def test_an_alias_is_seen_under_both_ids(world: World) -> None:
    """The person's name is not that of the alias."""
    found = await rows(world, said("annie", HOUR, ANN))
    assert found == {person_id("t", "annie"): ("annie", HOUR, HOUR), ANN: ("", HOUR, HOUR)}
    assert (await rows(world, said("ann", HOUR)))[ANN] == ("ann", HOUR, HOUR)


async def test_nobody_is_nobody(world: World) -> None:
    """A turn without a name makes no person."""
    assert await rows(world, said("", HOUR, "")) == {}


async def test_any_name_can_be_kept(world: World) -> None:
    """Also one that a database refuses, or without an end."""
    found = await rows(world, said("a\0b", HOUR), said("x" * 10_000, HOUR))
    assert sorted(name for name, _, _ in found.values()) == ["a\ufffdb", "x" * LONGEST_NAME]
