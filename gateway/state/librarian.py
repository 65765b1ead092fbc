"""The control process's side of the shelf: puts versions into Redis and changes the workers over.

What shall be live is written in SQL (`gateway.keyword_versions`), by the admin API and by the command line alike;
the librarian looks there once a second and brings the workers to it. So it may die at any moment and go on later.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from gateway.keyword_versions import KeywordVersions, Standing
from gateway.state import board
from gateway.state.shelf import PREFIX, READY, Arrangement, Ref, Report, pack, parts_key, server_time

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
WAITING_SECONDS = 0.1
"""Between two looks while workers are making a version ready."""
DEAD_SECONDS = 5.0
"""After its last report a worker is not waited for any more …"""
FORGOTTEN_SECONDS = 60.0
"""… and then its report is thrown away."""
KEPT = 3
"""Versions whose parts stay in Redis."""
STOCK = f"{PREFIX}stock"
"""Sorted set: version → when its parts were put there."""
PUSHED = 20
"""Parts that are pushed in one go."""


class Librarian:
    """Keeps the workers at what the log of releases says. *ready_seconds* is waited for slow workers at most."""

    def __init__(
        self, redis: "Redis", publisher: board.Publisher, versions: KeywordVersions, ready_seconds: float = 30
    ) -> None:
        self.redis = redis
        self.publisher = publisher
        self.versions = versions
        self.ready_seconds = ready_seconds
        self.shown: Arrangement | None = None
        """What is on the board."""
        self._poked = asyncio.Event()
        self._deadline = 0.0
        self._noted = 0
        self._refs: dict[int, Ref] = {}
        self._standing = Standing()

    def poke(self) -> None:
        """Have it look at the log now."""
        self._poked.set()

    async def run(self) -> None:
        """Keep the workers up to date until cancelled."""
        while True:
            pause = POLL_SECONDS
            try:
                if await self.step():
                    pause = WAITING_SECONDS
            except (RedisError, OSError, SQLAlchemyError) as error:
                log.warning("the keyword library cannot be looked after now: %s", error)
            except Exception:
                log.exception("the keyword library cannot be looked after")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._poked.wait()
            self._poked.clear()

    async def step(self) -> bool:
        """Bring everything one step nearer to what the log says; return whether workers are being waited for."""
        found = await self._look()
        if found.live is None:
            return False
        self.shown = await self._read()
        live, canary = await self._ref(found.live), await self._optional_ref(found.canary)
        arranged = Arrangement(live=live, canary=canary, until=found.until)
        if self.shown.live != live:
            return await self._change_over(arranged, live)
        await self._stock(arranged)
        await self._show(arranged)
        await self._note(found.number)
        return False

    async def _look(self) -> Standing:
        """Return what shall be live, read anew only where the log has grown; a canary whose time has come goes live."""
        if await self.versions.newest_release() != self._standing.newest:
            self._standing = await self.versions.standing()
        if self._standing.canary is not None and time.time() >= self._standing.until:
            await self.versions.promote(self._standing)
            self._standing = await self.versions.standing()
        return self._standing

    async def _change_over(self, arranged: Arrangement, live: Ref) -> bool:
        """Have *live* made ready, and put up *arranged* when everybody is, or the time is over."""
        shown = self.shown or Arrangement()
        if shown.prepare != live or not self._deadline:
            canary = shown.canary if shown.canary == live else None
            await self._stock(Arrangement(live=shown.live, prepare=live))
            self._deadline = time.monotonic() + self.ready_seconds
            await self._show(Arrangement(live=shown.live, prepare=live, canary=canary, until=shown.until))
        waiting = await self._not_ready(live)
        if waiting and time.monotonic() < self._deadline:
            return True
        if waiting:
            log.warning("keyword library %d goes live without %s", live.n, ", ".join(waiting))
        self._deadline = 0.0
        await self._show(arranged)
        log.info("keyword library %d is live", live.n)
        return True

    async def _not_ready(self, ref: Ref) -> list[str]:
        """Return the living workers that do not hold *ref* yet."""
        now, waiting = await server_time(self.redis), []
        reports: dict[Any, Any] = await self.redis.hgetall(READY)
        for worker, data in reports.items():
            report = msgspec.json.decode(data, type=Report)
            if now - report.at > FORGOTTEN_SECONDS:
                await self.redis.hdel(READY, worker)
            elif now - report.at <= DEAD_SECONDS and ref.sha not in report.loaded:
                waiting.append(worker.decode())
        return waiting

    async def _read(self) -> Arrangement:
        """Return what is on the board, whoever put it there; with the board empty, what this one put there last."""
        found = await self.publisher.board.read(board.KEYWORDS)
        if found is None:
            return self.shown or Arrangement()
        return msgspec.convert(found[1], Arrangement)

    async def _show(self, arranged: Arrangement) -> None:
        """Put *arranged* on the board, once; the publisher keeps it there through a loss of Redis."""
        if self.publisher.holds(board.KEYWORDS) and self.shown == arranged:
            return
        if arranged.canary != (self.shown.canary if self.shown is not None else None):
            if arranged.canary is not None:
                log.info("keyword library %d is a canary: it is only counted", arranged.canary.n)
            elif self.shown is not None and self.shown.canary != arranged.live:
                log.info(
                    "the canary is taken away; keyword library %d stays live", arranged.live.n if arranged.live else 0
                )
        self.shown = arranged
        await self.publisher.publish(board.KEYWORDS, msgspec.to_builtins(arranged))

    async def _note(self, number: int) -> None:
        if number != self._noted:
            await self.versions.went_live(number)
            self._noted = number

    async def _ref(self, n: int) -> Ref:
        if n not in self._refs:
            self._refs[n] = Ref(n, (await self.versions.get(n))["sha"])
        return self._refs[n]

    async def _optional_ref(self, n: int | None) -> Ref | None:
        return await self._ref(n) if n is not None else None

    async def _stock(self, arranged: Arrangement) -> None:
        """See to it that the parts of what workers shall hold are there."""
        for ref in arranged.wanted:
            if not await self.redis.exists(parts_key(ref.sha)):
                await self._put(ref)
                await self._clear({wanted.sha for wanted in arranged.wanted})

    async def _put(self, ref: Ref) -> None:
        parts = await asyncio.to_thread(pack, await self.versions.frozen(ref.n))
        coming = f"{parts_key(ref.sha)}:coming"
        await self.redis.delete(coming)
        for start in range(0, len(parts), PUSHED):
            await self.redis.rpush(coming, *parts[start : start + PUSHED])
        await self.redis.rename(coming, parts_key(ref.sha))  # nobody sees half of it
        await self.redis.zadd(STOCK, {ref.sha: await server_time(self.redis)})

    async def _clear(self, wanted: set[str]) -> None:
        """Throw away all but the newest `KEPT` versions and those that are *wanted*."""
        names: list[Any] = await self.redis.zrevrange(STOCK, KEPT, -1)
        for sha in {name.decode() for name in names} - wanted:
            await self.redis.delete(parts_key(sha))
            await self.redis.zrem(STOCK, sha)
