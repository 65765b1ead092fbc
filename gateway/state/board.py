"""Documents that one process publishes and all workers follow.

Replicas, client keys and, later, library and policy versions reach the workers this way: whoever changes one writes
the whole document to Redis and announces it; a worker reads it when it hears so, and looks at the version once a
second in case it did not hear. Redis gone: the worker keeps what it has.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.state.redis import lived_with
from gateway.tasks import ended, goes_on

log = logging.getLogger(__name__)

KEYS = "keys"
KEYWORDS = "keywords"
PEOPLE = "people"

POLL_SECONDS = 1.0
START_SECONDS = 5.0
"""For the first look of a follower; with Redis hanging it starts without."""
PUBLISH_SECONDS = 5.0
"""For one try; whoever has changed something does not wait longer."""
CHANNEL = "gw:changed"


def replicas_of(node: str) -> str:
    """Return the document of the replicas that the machine *node* has: its workers alone can reach them."""
    return f"replicas:{node}"


def _name(document: str) -> str:
    """Return the Redis key of *document*; the braces keep all of one document in one cluster slot."""
    return f"gw:{{{document}}}"


class Board:
    """The published documents, by name."""

    def __init__(self, redis: "Redis") -> None:
        self.redis = redis

    async def publish(self, name: str, document: Any) -> bytes:
        """Replace the document *name* and tell everyone; return its version.

        A version is a random word: after a loss of Redis a count would begin again, and look like one that was seen.
        """
        version = secrets.token_hex(8).encode()
        fields: dict[Any, Any] = {"version": version, "document": msgspec.json.encode(document)}
        await self.redis.hset(_name(name), mapping=fields)
        await self.redis.publish(CHANNEL, name)
        return version

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


class Source(Protocol):
    """Where a document is read anew each time that it is published."""

    async def generation(self) -> object:
        """Return what changes whenever the document does; asked for once a second."""

    async def document(self) -> Any:
        """Return the document."""


class Publisher:
    """Sees to it that what is true stays published, through any loss of Redis.

    A document is either handed over (`publish`), or comes from a source (`follow`): then every change of the source is
    published, whoever made it, and never an older copy after a newer one.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._documents: dict[str, Any] = {}
        self._sources: dict[str, Source] = {}
        self._published: dict[str, tuple[bytes, object]] = {}
        """Version and generation of what this publisher has put up, or found to be the same."""
        self._late: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._complaints: dict[str, str] = {}

    async def publish(self, name: str, document: Any) -> None:
        """Publish *document*, now or, with Redis away, as soon as it is back."""
        self._documents[name] = document
        await self._now(name)

    async def follow(self, name: str, source: Source) -> None:
        """Publish what *source* says, now and whenever that changes."""
        self._sources[name] = source
        await self._now(name)

    async def refresh(self, name: str) -> None:
        """Publish what the source of *name*, once it is followed, says now."""
        if name in self._sources:
            await self._now(name)

    def holds(self, name: str) -> bool:
        """Return whether it has published *name*, and so sees to it."""
        return name in self._documents or name in self._sources

    async def run(self) -> None:
        """Publish what is late or has changed, and again what Redis has forgotten, until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for name in (*self._documents, *self._sources):
                await self._try(name)

    async def _now(self, name: str) -> None:
        self._late.add(name)
        await self._try(name)

    async def _try(self, name: str) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS), self._locks.setdefault(name, asyncio.Lock()):
                await self._bring(name)
            self._complaints.pop(name, None)
        except Exception as error:  # Redis or the database are away; it is tried again
            self._late.add(name)
            if self._complaints.get(name) != str(error):
                known = isinstance(error, RedisError | OSError | TimeoutError)
                log.warning("%s cannot be published now: %r", name, error, exc_info=None if known else error)
            self._complaints[name] = str(error)

    async def _bring(self, name: str) -> None:
        """Publish *name* where that is needed. Its lock is held: reading and publishing are one."""
        source = self._sources.get(name)
        generation = await source.generation() if source is not None else None
        version = await self.board.version(name)
        late = name in self._late or version is None
        if not late and (source is None or self._published.get(name) == (version, generation)):
            return
        self._late.discard(name)
        document = await source.document() if source is not None else self._documents[name]
        if not late and await self._stands(name, document, generation):
            return
        self._published[name] = (await self.board.publish(name, document), generation)

    async def _stands(self, name: str, document: Any, generation: object) -> bool:
        """Return whether somebody else has put up the same: two publishers must not outdo each other for ever."""
        found = await self.board.read(name)
        if found is None or found[1] != msgspec.json.decode(msgspec.json.encode(document)):
            return False
        self._published[name] = (found[0], generation)
        return True


class Follower:
    """Calls back with each new version of the documents it watches."""

    def __init__(self, board: Board, callbacks: Mapping[str, Callable[[Any], None]]) -> None:
        self.board = board
        self.callbacks = callbacks
        self.seen: dict[str, bytes | None] = dict.fromkeys(callbacks)
        self.tasks: list[asyncio.Task[None]] = []
        self._one_at_a_time = asyncio.Lock()  # else an older document could be taken after a newer one
        self._complaints: dict[str, str] = {}

    async def start(self, seconds: float = START_SECONDS) -> None:
        """Read everything once, then follow until `stop`.

        With Redis away, or silent for *seconds*, what there is comes later.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._refresh()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            log.error("redis_url: the state cannot be read yet: %r", error)  # noqa: TRY400 - whose fault it is
        self.tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """End the following."""
        await ended(self.tasks)

    async def _refresh(self) -> None:
        async with self._one_at_a_time:
            for name in self.callbacks:
                await self._read_changed(name)

    async def _read_changed(self, name: str) -> None:
        """Take the newest *name*. One that cannot be read, or used, leaves the one before, and all others alone."""
        version = None
        try:
            version = await self.board.version(name)
            if version in {None, self.seen[name]}:
                return
            found = await self.board.read(name)
            if found is None:
                return
            self.callbacks[name](found[1])
            version = found[0]
        except (ConnectionError, TimeoutError, RedisConnectionError, RedisTimeoutError):
            raise
        except Exception as error:
            if self._complaints.get(name) != str(error):
                log.exception("the document %s cannot be used; the one before it stays", name)
            self._complaints[name] = str(error)
        else:
            self._complaints.pop(name, None)
        self.seen[name] = version or self.seen[name]

    async def _listen(self) -> None:
        while goes_on():
            with lived_with("what is announced cannot be followed"):
                async with self.board.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    while goes_on():
                        if await channel.get_message(timeout=POLL_SECONDS) is not None:
                            await self._refresh()
            await asyncio.sleep(POLL_SECONDS)

    async def _poll(self) -> None:
        while goes_on():
            await asyncio.sleep(POLL_SECONDS)
            with lived_with("the documents cannot be read"):
                await self._refresh()
