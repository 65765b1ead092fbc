"""Documents that one process publishes and all workers follow.

Replicas, client keys and, later, library and policy versions reach the workers this way: whoever changes one writes
the whole document to Redis and announces it; a worker reads it when it hears so, and looks at the version once a
second in case it did not hear. Redis gone: the worker keeps what it has.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

REPLICAS = "replicas"
KEYS = "keys"

POLL_SECONDS = 1.0
CHANNEL = "gw:changed"


def _name(document: str) -> str:
    """Return the Redis key of *document*; the braces keep all of one document in one cluster slot."""
    return f"gw:{{{document}}}"


class Board:
    """The published documents, by name."""

    def __init__(self, redis: "Redis") -> None:
        self.redis = redis

    async def publish(self, name: str, document: Any) -> int:
        """Replace the document *name*, tell everyone, and return its new version."""
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(_name(name), "version", 1)
            pipe.hset(_name(name), "document", msgspec.json.encode(document))
            version, _ = await pipe.execute()
        await self.redis.publish(CHANNEL, name)
        return int(version)

    async def version(self, name: str) -> int:
        """Return the version of *name*; 0 before the first."""
        found: Any = await self.redis.hget(_name(name), "version")
        return int(found or 0)

    async def read(self, name: str) -> tuple[int, Any]:
        """Return version and document of *name*; ``(0, None)`` before the first."""
        found: Any = await self.redis.hmget(_name(name), ["version", "document"])
        return int(found[0] or 0), msgspec.json.decode(found[1]) if found[1] is not None else None


class Publisher:
    """Sees to it that what was published last stays published, through any loss of Redis."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._documents: dict[str, Any] = {}
        self._late: set[str] = set()

    async def publish(self, name: str, document: Any) -> None:
        """Publish *document*, now or, with Redis away, as soon as it is back."""
        self._documents[name] = document
        self._late.add(name)
        await self._try(name)

    async def run(self) -> None:
        """Publish what is late, and again what Redis has forgotten, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for name in tuple(self._documents):
                await self._try(name)

    async def _try(self, name: str) -> None:
        try:
            if name in self._late or await self.board.version(name) == 0:
                self._late.discard(name)
                await self.board.publish(name, self._documents[name])
        except (RedisError, OSError) as error:
            self._late.add(name)
            log.warning("%s cannot be published now: %s", name, error)


class Follower:
    """Calls back with each new version of the documents it watches."""

    def __init__(self, board: Board, callbacks: Mapping[str, Callable[[Any], None]]) -> None:
        self.board = board
        self.callbacks = callbacks
        self.seen = dict.fromkeys(callbacks, 0)
        self.tasks: list[asyncio.Task[None]] = []
        self._one_at_a_time = asyncio.Lock()  # else an older document could be taken after a newer one

    async def start(self) -> None:
        """Read everything once, then follow until `stop`."""
        await self._refresh()
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """End the following."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _refresh(self) -> None:
        async with self._one_at_a_time:
            await self._read_changed()

    async def _read_changed(self) -> None:
        for name, callback in self.callbacks.items():
            if await self.board.version(name) == self.seen[name]:
                continue
            version, document = await self.board.read(name)
            if version == self.seen[name]:
                continue
            try:
                callback(document)
            except Exception:
                log.exception("the document %s, version %s, cannot be used; the one before it stays", name, version)
            self.seen[name] = version

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                async with self.board.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    async for _ in channel.listen():
                        await self._refresh()
            await asyncio.sleep(POLL_SECONDS)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(RedisError, OSError):
                await self._refresh()
