"""Keeps the queues: tells the workers what was decided, counts what is overdue, forgets what is old."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints.published import Board
from gateway.complaints.rules import DAY_SECONDS
from gateway.complaints.store import TABLES, Cases
from gateway.review_metrics import ReviewMetrics

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
COUNT_SECONDS = 15.0
FORGET_SECONDS = 3_600.0
STEP_SECONDS = 30.0
"""For one look, whatever it waits for."""
TOLD = "gw:cases:told"
"""There as long as Redis has not lost what the workers were told."""


class Keeper:
    """Runs in the control process; of several on one database each does the same, and none harms another."""

    def __init__(
        self,
        engine: AsyncEngine,
        redis: "Redis",
        metrics: ReviewMetrics,
        keep_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*keep_days*: after which decided cases are dropped; labels stay."""
        self.redis = redis
        self.metrics = metrics
        self.keep_days = keep_days
        self.queues = [(Cases(engine, case), Board(redis, case)) for case in TABLES]
        self._clock = clock
        self._poked = asyncio.Event()
        self._counted = self._forgot = float("-inf")

    def poke(self) -> None:
        """Look now."""
        self._poked.set()

    async def run(self) -> None:
        """Look once a second until cancelled, whatever comes of it."""
        said = ""
        while True:
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    await self.step()
                said = ""
            except (RedisError, SQLAlchemyError, OSError) as error:  # they come back
                if said != type(error).__name__:
                    log.warning("appeals and complaints cannot be looked after now: %r", error)
                said = type(error).__name__
            except Exception:
                log.exception("appeals and complaints cannot be looked after")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._poked.wait()
            self._poked.clear()

    async def step(self) -> None:
        """Do what is to be done by now. Raises `RedisError` and `SQLAlchemyError`."""
        now = self._clock()
        if now - self._counted >= COUNT_SECONDS:
            self._counted = now
            for cases, _ in self.queues:
                self.metrics.cases(cases.case, *await cases.counts(int(now)))
        if now - self._forgot >= FORGET_SECONDS:
            self._forgot = now
            for cases, _ in self.queues:
                await cases.forget(int(now) - self.keep_days * DAY_SECONDS)
        await self._tell(int(now))

    async def _tell(self, now: int) -> None:
        if not await self.redis.exists(TOLD):
            for cases, _ in self.queues:
                await cases.tell_again(now)
            await self.redis.set(TOLD, now)
        for cases, board in self.queues:
            for one in await cases.unpublished():
                await board.publish(one)
                await cases.told(one)
