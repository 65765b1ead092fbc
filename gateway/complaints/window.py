"""How many a day: counted in Redis for all workers, and, while that is away, by each worker for itself."""

import asyncio
import logging
import time
from collections import deque
from hashlib import sha256
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.complaints.rules import DAY_SECONDS
from gateway.problems import Problem

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
"""For Redis to count."""
LOCAL_MOST = 100
LOCAL_SECONDS = 3_600.0
"""What one worker lets pass within so long while nothing can be counted in Redis: all people together."""


class Window:
    """At most *most* within any *seconds*."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._taken: deque[float] = deque(maxlen=most)

    def take(self, now: float) -> float:
        """Count one at *now* and return 0; or count nothing, and return after how many seconds there is room."""
        if len(self._taken) == self.most and (wait := self._taken[0] + self.seconds - now) > 0:
            return wait
        self._taken.append(now)
        return 0.0


class Daily:
    """Lets *most* of one name pass a day; the day begins with the first one."""

    def __init__(self, redis: "Redis", what: str, most: int, param: str | None = None) -> None:
        """Count *what*, which may be read by clients; the 429 of too many blames *param*."""
        self.redis = redis
        self.what = what
        self.most = most
        self.param = param
        self._local = Window(LOCAL_MOST, LOCAL_SECONDS)

    async def take(self, *name: str) -> None:
        """Count one of *name*. Raises a 429 `Problem` that says when to come again."""
        key = f"gw:day:{sha256(msgspec.json.encode([self.what, *name])).hexdigest()[:32]}"
        try:
            async with asyncio.timeout(ASK_SECONDS):
                count, seconds = await self._counted(key)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.warning("%s are counted by this worker alone: %r", self.what, error)
            if wait := self._local.take(time.monotonic()):
                raise self._too_many(wait) from None
            return
        if count > self.most:
            raise self._too_many(seconds)

    async def _counted(self, key: str) -> tuple[int, int]:
        async with self.redis.pipeline(transaction=True) as both:
            both.set(key, 0, ex=DAY_SECONDS, nx=True)
            both.incr(key)
            both.ttl(key)
            _, count, seconds = await both.execute()
        return int(count), int(seconds)

    def _too_many(self, wait: float) -> Problem:
        text = f"There are too many {self.what}: {self.most} are taken a day."
        extra: dict[str, Any] = {"kind": "rate_limit_error", "param": self.param, "code": "too_many"}
        return Problem(429, text, retry_after=max(1, int(wait) + 1), **extra)
