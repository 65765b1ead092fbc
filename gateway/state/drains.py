"""How a replica drains: its owner asks all workers of the machine to let go of it, and each says when it has.

A drain has a name, which stands in the published replicas (`Endpoint.drain`). A worker that reads it sends nothing
there any more, and says the name back as soon as the last of its requests there has ended. So the owner knows exactly,
whatever a worker had read at the time. What a worker said stays true when it is started anew.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from backends.endpoint import Endpoint
from backends.pool import Pool
from gateway.state.redis import lived_with

LOOK_SECONDS = 0.05
"""Between two looks of a worker that still has something there."""
AGAIN_SECONDS = 1.0
"""After which a worker says it again while a drain goes on: the state server may have lost it."""
ASK_SECONDS = 0.1
"""Between two looks of the owner."""
KEPT_SECONDS = 24 * 3600


def _key(node: str) -> str:
    return f"gw:{{drains:{node}}}"


def new_name() -> str:
    """Return the name of a new drain."""
    return secrets.token_hex(8)


class Letting:
    """A worker's part: says which drains it has nothing to do with any more."""

    def __init__(self, redis: "Redis", pool: Pool, node: str, index: int) -> None:
        self.redis = redis
        self.pool = pool
        self.key = _key(node)
        self.index = index
        self._drains: dict[str, str] = {}
        """Name of each drain → its replica."""
        self._said: set[str] = set()
        self._told = asyncio.Event()

    def take(self, endpoints: Iterable[Endpoint]) -> None:
        """Take the drains of what the pool has just been told of."""
        self._drains = {endpoint.drain: endpoint.replica for endpoint in endpoints if endpoint.drain}
        self._told.set()

    async def run(self) -> None:
        """Say what has ended, until cancelled."""
        while True:
            if not self._drains:
                self._said.clear()
                self._told.clear()
                await self._told.wait()
            ended = {name for name, replica in self._drains.items() if self.pool.let_go(replica)}
            if ended != self._said:
                await self._say(ended)
            done = len(ended) == len(self._drains) and ended == self._said
            self._told.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS if done else LOOK_SECONDS):
                    await self._told.wait()
            if done:
                self._said = set()

    async def _say(self, ended: set[str]) -> None:
        with lived_with("ended drains cannot be told"):
            fields: Any = {str(self.index): msgspec.json.encode(sorted(ended))}
            await self.redis.hset(self.key, mapping=fields)
            await self.redis.expire(self.key, KEPT_SECONDS)
            self._said = ended


class Drains:
    """The owner's part: waits until all *workers* of the *node* have let go."""

    def __init__(self, redis: "Redis", node: str, workers: int) -> None:
        self.redis = redis
        self.key = _key(node)
        self.workers = workers

    async def ended(self, name: str) -> None:
        """Return when no worker has a request that belongs to the drain *name*; with the state server away, later."""
        while not await self._said_by_all(name):  # noqa: ASYNC110 - the workers are other processes
            await asyncio.sleep(ASK_SECONDS)

    async def _said_by_all(self, name: str) -> bool:
        try:
            said: Any = await self.redis.hmget(self.key, [str(index) for index in range(self.workers)])
        except (RedisError, OSError):
            return False
        return all(one is not None and name in msgspec.json.decode(one) for one in said)
