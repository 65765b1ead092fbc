"""Whether a content is on record: workers have no index of the log, and ask the control processes, over Redis.

Every control process that listens answers, since each may have a log of its own.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.state.redis import lived_with
from gateway.tasks import ended

log = logging.getLogger(__name__)

CHANNEL = "gw:contents:asked"
ANSWER_SECONDS = 3.0
"""For the answers to come; then it is not known."""
LOOKS_SECONDS = (0.0, 0.7, 0.8)
"""Before each look at the index, which is a second or so behind: a content may have been said just now."""
KEPT_SECONDS = 10
"""For a worker to fetch an answer."""
MOST_AT_ONCE = 100
"""Questions that a control process looks after; more get no answer."""
AGAIN_SECONDS = 0.5
"""Until it is listened again, where Redis was lost."""


class Answer(StrEnum):
    """What one control process knows of a content."""

    THERE = "there"
    NOT_THERE = "not_there"
    BEHIND = "behind"
    """Its index has not all of its log now."""


class Question(msgspec.Struct, frozen=True):
    """Which content, and the name of the list where the answers are waited for."""

    content_id: str
    answers: str


async def on_record(redis: "Redis", content_id: str) -> bool | None:
    """Return whether a content is on record anywhere; None: nobody can tell now. Takes `ANSWER_SECONDS` at most."""
    question = Question(content_id, f"gw:contents:{secrets.token_hex(12)}")
    until = time.monotonic() + ANSWER_SECONDS
    try:
        listeners = int(await redis.publish(CHANNEL, msgspec.json.encode(question)))
        found: set[Answer | None] = set() if listeners else {None}
        for _ in range(listeners):
            found.add(await _next(redis, question.answers, until))
            if Answer.THERE in found:
                return True
    except (RedisError, OSError):  # TimeoutError is an OSError
        return None
    return False if found == {Answer.NOT_THERE} else None


async def _next(redis: "Redis", answers: str, until: float) -> Answer | None:
    """Return the next answer, or None: there is none before the moment *until* of the monotonic clock."""
    left = until - time.monotonic()
    if left <= 0:
        return None
    found = await redis.blpop([answers], timeout=left)
    return None if found is None else Answer(cast("bytes", found[1]).decode())


class Contents:
    """Answers for one control process. *find* finds a turn by its content id; *caught_up* says whether it finds all."""

    def __init__(
        self, redis: "Redis", find: Callable[[str], Awaitable[object | None]], caught_up: Callable[[], bool]
    ) -> None:
        self.redis = redis
        self._find = find
        self._caught_up = caught_up
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer until cancelled, through any loss of Redis or of the database."""
        try:
            while True:
                with lived_with("nobody is told whether contents are on record"):
                    await self._listen()
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await ended(self._tasks)

    async def _listen(self) -> None:
        async with self.redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(CHANNEL)
            async for message in channel.listen():
                if len(self._tasks) < MOST_AT_ONCE:
                    task = asyncio.create_task(self._answer(message["data"]))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes) -> None:
        with lived_with("whether a content is on record cannot be told"):
            question = msgspec.json.decode(data, type=Question)
            answer = await self._known(question.content_id)
            async with self.redis.pipeline(transaction=True) as both:
                both.rpush(question.answers, answer.value)
                both.expire(question.answers, KEPT_SECONDS)
                await both.execute()

    async def _known(self, content_id: str) -> Answer:
        for seconds in LOOKS_SECONDS:
            await asyncio.sleep(seconds)
            try:
                if await self._find(content_id) is not None:
                    return Answer.THERE
            except Exception as error:  # noqa: BLE001 - a database may fail in every way
                log.warning("whether a content is on record cannot be read now: %r", error)
                return Answer.BEHIND
        return Answer.NOT_THERE if self._caught_up() else Answer.BEHIND
