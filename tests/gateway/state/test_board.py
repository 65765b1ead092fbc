import asyncio
import contextlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.state import board as boards
from gateway.state.board import Board, Follower, Publisher
from gateway.tasks import ended, running
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


async def test_changes_arrive_at_once(redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """A published version reaches a follower that does not poll."""
    monkeypatch.setattr(boards, "POLL_SECONDS", 3600.0)
    board, seen = Board(redis), list[Any]()
    follower = Follower(board, {"x": seen.append, "y": seen.append})
    await follower.start()
    await asyncio.sleep(0.1)
    for i in range(5):
        await board.publish("y", i)
        await eventually(lambda i=i: seen[-1:] == [i])
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
    async with running(asyncio.create_task(publisher.run())):
        await redis.flushall()
        await eventually(lambda: len(seen) == 2)
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


async def test_a_follower_starts_without_redis(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts while Redis is away, or hangs, and follows as soon as it answers."""
    from redis.asyncio import Redis as Client  # noqa: PLC0415 - the fixture's name is taken

    away: Any = Client.from_url(f"unix://{tmp_path}/nobody.sock")
    board, seen = Board(away), list[Any]()
    for hangs in (False, True):
        follower = Follower(board, {"x": seen.append})
        if hangs:
            monkeypatch.setattr(board, "version", lambda name: asyncio.sleep(3600, name))
        await asyncio.wait_for(follower.start(0.1), 2)
        assert (2, []) == (sum(not task.done() for task in follower.tasks), seen)
        if hangs:
            monkeypatch.setattr(board, "version", _answer(b"1"))
            monkeypatch.setattr(board, "read", _answer((b"1", "document")))
            await eventually(lambda: seen == ["document"])
        await follower.stop()
    await away.aclose()


def _answer(value: Any) -> Any:
    async def answer(name: str) -> Any:
        del name
        return value

    return answer


async def test_one_document_that_cannot_be_read_leaves_the_others(redis: "Redis") -> None:
    """Garbage under one name, of whatever kind, ends neither the following nor the other documents."""
    board, seen = Board(redis), list[Any]()
    follower = Follower(board, {"bad": seen.append, "wrong": seen.append, "good": seen.append})
    await redis.hset("gw:{bad}", mapping={"version": "1", "document": b"\xff{"})
    await redis.set("gw:{wrong}", "no hash")
    await board.publish("good", 1)
    await follower.start()
    await asyncio.sleep(0.1)
    for value in (2, 3):
        await redis.hset("gw:{bad}", mapping={"version": f"v{value}", "document": b"{"})
        await board.publish("good", value)
        await eventually(lambda value=value: seen[-1:] == [value])
    assert not any(task.done() for task in follower.tasks)
    await board.publish("bad", "mended")
    await eventually(lambda: "mended" in seen)
    await follower.stop()


class Source:
    """SQL, as far as a publisher goes."""

    def __init__(self) -> None:
        self.number = 0
        self.reads = 0
        self.pause = 0.0
        self.error: Exception | None = None

    async def generation(self) -> object:
        return self.number

    async def document(self) -> Any:
        self.reads += 1
        found = {"number": self.number}
        await asyncio.sleep(self.pause)
        if self.error is not None:
            raise self.error
        return found


@contextlib.asynccontextmanager
async def keeping(publisher: Publisher) -> Any:
    """Have *publisher* run within the block."""
    task = asyncio.create_task(publisher.run())
    try:
        yield
        assert not task.done()
    finally:
        await ended([task])


async def number(board: Board) -> Any:
    found = await board.read("x")
    return found[1]["number"] if found is not None else None


async def becomes(board: Board, expected: int) -> None:
    async with asyncio.timeout(30):
        while await number(board) != expected:
            await asyncio.sleep(0.02)


async def test_what_comes_back_is_what_is_true_now(redis: "Redis") -> None:
    """After a loss of Redis the source is read again: an old copy would bring disabled keys back to life."""
    board, source = Board(redis), Source()
    publisher = Publisher(board)
    await publisher.follow("x", source)
    async with keeping(publisher):
        await redis.flushall()
        source.number = 7
        await becomes(board, 7)


async def test_a_source_that_changes_is_published_without_a_word(redis: "Redis") -> None:
    """What another process has changed in SQL is published; what has not changed is not even read."""
    board, source = Board(redis), Source()
    publisher = Publisher(board)
    await publisher.follow("x", source)
    async with keeping(publisher):
        await asyncio.sleep(1.2)
        assert 1 == source.reads
        source.number = 1
        await becomes(board, 1)


async def test_an_older_copy_of_somebody_else_is_put_right(redis: "Redis") -> None:
    """The command line may have read before a change and published after it."""
    board, source = Board(redis), Source()
    source.number = 2
    publisher = Publisher(board)
    await publisher.follow("x", source)
    async with keeping(publisher):
        await board.publish("x", {"number": 1})
        await becomes(board, 2)
        await board.publish("x", {"number": 2})
        version = await board.version("x")
        await asyncio.sleep(1.2)
        assert version == await board.version("x")  # the same is left: two publishers would go on for ever


async def test_an_older_document_never_comes_after_a_newer_one(redis: "Redis") -> None:
    """Reading and publishing are one: a slow reader does not overtake."""
    board, source = Board(redis), Source()
    publisher = Publisher(board)
    await publisher.follow("x", source)
    source.pause = 0.2
    slow = asyncio.create_task(publisher.refresh("x"))
    await asyncio.sleep(0.05)
    source.number, source.pause = 1, 0.0
    await publisher.refresh("x")
    await slow
    assert 1 == await number(board)


async def test_a_change_does_not_wait_for_a_redis_that_hangs(redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing has its time; what did not make it is published later, and no fault of the source ends that."""
    board, source = Board(redis), Source()
    publisher = Publisher(board)
    await publisher.follow("x", source)
    monkeypatch.setattr(boards, "PUBLISH_SECONDS", 0.1)
    source.number, source.pause = 1, 3600
    await asyncio.wait_for(publisher.refresh("x"), 2)
    source.pause, source.error = 0.0, RuntimeError("the database is away")
    await publisher.refresh("x")
    source.error = RedisTimeoutError()
    await publisher.refresh("x")
    assert 0 == await number(board)
    source.error = None
    async with keeping(publisher):
        await becomes(board, 1)
