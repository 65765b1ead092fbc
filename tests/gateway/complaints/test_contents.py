"""Whether a content is on record, asked over a real Valkey."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.complaints import contents
from gateway.complaints.contents import Contents, on_record
from gateway.tasks import running

CONTENT = "0123456789abcdef01234567"
Find = Callable[[str], Awaitable[object | None]]


def knowing(*known: str, after: int = 0) -> Find:
    """Return what finds *known* contents, from behind so many looks on."""
    looks = 0

    async def find(content_id: str) -> object | None:
        nonlocal looks
        looks += 1
        return content_id if content_id in known and looks > after else None

    return find


async def broken(content_id: str) -> None:
    """Fail as a database does."""
    raise ConnectionError(content_id)


@contextlib.asynccontextmanager
async def listening(redis: "Redis", *finds: Find, caught_up: bool = True) -> AsyncIterator[None]:
    """Run a control process for each of *finds*."""
    async with contextlib.AsyncExitStack() as stack:
        for find in finds:
            one = Contents(redis, find, lambda: caught_up)
            await stack.enter_async_context(running(asyncio.create_task(one.run())))
        while (await redis.pubsub_numsub(contents.CHANNEL))[0][1] < len(finds):
            await asyncio.sleep(0.01)
        yield


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait as long as for a real index."""
    monkeypatch.setattr(contents, "LOOKS_SECONDS", (0.0, 0.02))
    monkeypatch.setattr(contents, "ANSWER_SECONDS", 2.0)


async def test_what_is_known_is_there(redis: "Redis") -> None:
    """Also what the index learns a moment later; what it never learns is not."""
    async with listening(redis, knowing(CONTENT, after=1)):
        assert await on_record(redis, CONTENT) is True
        assert await on_record(redis, "f" * 24) is False


async def test_one_of_several_is_enough(redis: "Redis") -> None:
    """Each gateway may have a log of its own."""
    async with listening(redis, knowing(), knowing(CONTENT)):
        assert await on_record(redis, CONTENT) is True
        assert await on_record(redis, "f" * 24) is False


async def test_where_an_index_is_behind_nobody_can_tell(redis: "Redis") -> None:
    """Nor where it cannot be read; what another one has is there all the same."""
    async with listening(redis, knowing(), caught_up=False):
        assert await on_record(redis, CONTENT) is None
    async with listening(redis, broken, knowing(CONTENT)):
        assert await on_record(redis, CONTENT) is True
        assert await on_record(redis, "f" * 24) is None


async def test_without_an_answer_nobody_can_tell(
    redis: "Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether nobody listens, whoever does is stuck, or Redis is away."""
    assert await on_record(redis, CONTENT) is None
    monkeypatch.setattr(contents, "ANSWER_SECONDS", 0.1)
    async with redis.pubsub() as mute:
        await mute.subscribe(contents.CHANNEL)
        await mute.get_message(timeout=1)
        assert await on_record(redis, CONTENT) is None
    lost: Redis = Redis.from_url(f"unix://{tmp_path}/nobody.sock")
    assert await on_record(lost, CONTENT) is None


async def test_what_is_no_question_harms_nobody(redis: "Redis") -> None:
    """Whoever writes to the channel."""
    async with listening(redis, knowing(CONTENT)):
        await redis.publish(contents.CHANNEL, b"{")
        assert await on_record(redis, CONTENT) is True
