"""Documents that one process publishes and all workers follow.

Replicas, client keys and, later, library and policy versions reach the workers this way: whoever changes one writes
the whole document to Redis and announces it; a worker reads it when it hears so, and looks at the version once a
second in case it did not hear. Redis gone: the worker keeps what it has.
"""

import asyncio
import contextlib
import logging
import secrets
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

    async def publish(self, name: str, document: Any) -> None:
        """Replace the document *name* and tell everyone.

        A version is a random word: after a loss of Redis a count would begin again, and look like one that was seen.
        """
        fields: dict[Any, Any] = {"version": secrets.token_hex(8), "document": msgspec.json.encode(document)}
        await self.redis.hset(_name(name), mapping=fields)
        await self.redis.publish(CHANNEL, name)

    async def version(self, name: str) -> bytes | None:
        """Return the version of *name*; None where there is none."""
        found: Any = await self.redis.hget(_name(name), "version")
        return bytes(found) if found is not None else None

    async def read(self, name: str) -> tuple[bytes, Any] | None:
        """Return version and document of *name*; None where there is none."""
        version, document = await self._fields(name)
        return (version, msgspec.json.decode(document)) if version is not None and document is not None else None

    async def _fields(self, name: str) -> Any:
        return await self.redis.hmget(_name(name), ["version", "document"])


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
            if name in self._late or await self.board.version(name) is None:
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
        self.seen: dict[str, bytes | None] = dict.fromkeys(callbacks)
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
            if await self.board.version(name) in {None, self.seen[name]}:
                continue
            found = await self.board.read(name)
            if found is None:
                continue
            version, document = found
            try:
                callback(document)
            except Exception:
                log.exception("the document %s cannot be used; the one before it stays", name)
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
