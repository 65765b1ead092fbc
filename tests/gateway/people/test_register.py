"""What SQL has of people, and the workers' copy."""

import pytest

from gateway.people import register
from gateway.people.directory import Directory, person_id
from gateway.state import board
from tests.gateway.conftest import eventually
from tests.gateway.people.conftest import World

ANN = person_id("t", "ann")


async def test_every_change_has_a_generation(world: World) -> None:
    """Whoever publishes sees that something changed, in whatever process; what was refused changes nothing."""
    await world.people.look_up("t", "ann")
    seen = [await world.services.register.generation()]
    for asked in ("ban", "exempt"):
        await getattr(world.people, asked)(ANN, None, "r", "e")
        seen.append(await world.services.register.generation())
    assert len(set(seen)) == 3


async def test_what_holds_is_one_row(world: World) -> None:
    """A second one takes the place of the first; the end ends it once."""
    async with world.engine.begin() as connection:
        for until in (None, 100, 200):
            await register.place(connection, "ban", ANN, until, "r", "e", 50)
        assert (await register.held(connection, "ban", [ANN], 50))[ANN]["until"] == 200
        assert await register.held(connection, "ban", [ANN], 200) == {}
        assert [await register.end(connection, "ban", ANN, "why", "e", 60) for _ in range(2)] == [True, False]


async def test_a_worker_learns_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it does not poll; and what another process changed in SQL is found out by the look once a second."""
    monkeypatch.setattr(board, "POLL_SECONDS", 3600.0)
    publisher = board.Publisher(board.Board(world.ledger.redis))
    await publisher.follow(board.PEOPLE, world.services.register)
    directory = Directory()
    follower = board.Follower(board.Board(world.ledger.redis), {board.PEOPLE: directory.take})
    await follower.start()
    await world.people.look_up("t", "ann")
    await world.people.ban(ANN, None, "r", "e")
    await publisher.refresh(board.PEOPLE)
    await eventually(lambda: directory.ban(ANN, 0) is not None)
    await world.people.unban(ANN, "r", "e")  # nobody says so
    await publisher._try(board.PEOPLE)
    await eventually(lambda: directory.ban(ANN, 0) is None)
    await follower.stop()
