import asyncio
from typing import Any

from redis.asyncio import Redis

from gateway.state.board import Board, Follower, Publisher
from tests.gateway.conftest import eventually


async def test_what_was_published_before_is_there_at_the_start(redis: "Redis") -> None:
    """A follower begins with the newest version."""
    board, seen = Board(redis), list[Any]()
    await board.publish("x", 1)
    await board.publish("x", {"a": "二"})
    follower = Follower(board, {"x": seen.append})
    await follower.start()
    await follower.stop()
    assert seen == [{"a": "二"}]


async def test_changes_arrive_at_once(redis: "Redis") -> None:
    """A published version reaches a follower faster than its poll would."""
    board, seen = Board(redis), list[Any]()
    follower = Follower(board, {"x": seen.append, "y": seen.append})
    await follower.start()
    await asyncio.sleep(0.1)
    for i in range(5):
        await board.publish("y", i)
        await eventually(lambda i=i: seen[-1:] == [i], 0.6)
    await follower.stop()
    assert seen == [0, 1, 2, 3, 4]


async def test_a_version_that_cannot_be_used_leaves_the_one_before(redis: "Redis") -> None:
    """A broken document does not end the following."""
    board, seen = Board(redis), list[int]()

    def take(document: Any) -> None:
        seen.append(10 // document)

    follower = Follower(board, {"x": take})
    await follower.start()
    for value in (5, 0, 2):
        await board.publish("x", value)
    await eventually(lambda: seen[-1:] == [5])
    await follower.stop()


async def test_what_redis_has_forgotten_is_published_again(redis: "Redis") -> None:
    """After a loss of Redis the documents come back by themselves."""
    board, seen = Board(redis), list[Any]()
    publisher, follower = Publisher(board), Follower(board, {"x": seen.append})
    await publisher.publish("x", "document")
    await follower.start()
    keeping = asyncio.create_task(publisher.run())
    await redis.flushall()
    await eventually(lambda: len(seen) == 2)
    keeping.cancel()
    await follower.stop()
    assert seen == ["document", "document"]


async def test_with_redis_away_publishing_waits(tmp_path: Any) -> None:
    """Nobody fails because Redis is away; the document is published when it is back."""
    from redis.asyncio import Redis as Client  # noqa: PLC0415 - the fixture's name is taken

    away: Any = Client.from_url(f"unix://{tmp_path}/nobody.sock")
    publisher = Publisher(Board(away))
    await publisher.publish("x", 1)
    assert publisher._late == {"x"}
    await away.aclose()
