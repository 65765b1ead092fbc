"""How a published version of the keyword library reaches the workers, and how they all change over at once.

The entries stand in Redis in parts; a small document on the board (`Arrangement`) says which version is live, which
one to make ready and which one only counts. A worker takes the parts one by one, builds the library in a thread and
reports what it has. Once every living worker has it, control (`gateway.state.librarian`) puts it up as live, and the
change is an assignment in each worker. Nothing here holds a worker's event loop for more than some milliseconds.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Protocol

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.state.crumbling import crumble
from gateway.tasks import together
from keywords.entry import Entry
from keywords.library import Library

log = logging.getLogger(__name__)

PREFIX = "gw:{keywords}:"
"""The braces keep all of it in one cluster slot, beside the document `gw:{keywords}`."""
READY = f"{PREFIX}ready"
"""Hash: worker → `Report`."""
PART = 500
"""Entries; decoding them takes about a millisecond."""
HEARTBEAT_SECONDS = 1.0
RETRY_SECONDS = 0.5
FAILED_SECONDS = 30.0
"""Until a version that could not be built is tried again."""
REST_SECONDS = 0.002
"""For the event loop, between two slices of a build."""
RETIRE_SECONDS = 1.0
LONGEST_RETIREMENT = 600
"""Looks at whether a retired library is still in use; then it is let go anyway."""
ALONE = 2
"""References to what only a list holds, as `sys.getrefcount` counts them: its own argument is one."""
NEVER = 1 << 30


class Ref(msgspec.Struct, frozen=True):
    """One version: its number, and the SHA-256 of its canonical JSON."""

    n: int
    sha: str


class Arrangement(msgspec.Struct, frozen=True):
    """The document on the board."""

    live: Ref | None = None
    prepare: Ref | None = None
    """To be made ready; goes live when everybody has it."""
    canary: Ref | None = None
    """Judges beside the live one, and is only counted."""
    until: int = 0
    """When the canary goes live, Unix time."""

    @property
    def wanted(self) -> tuple[Ref, ...]:
        """Return what a worker shall hold, the most urgent first."""
        return tuple(dict.fromkeys(ref for ref in (self.live, self.prepare, self.canary) if ref is not None))


class Report(msgspec.Struct, frozen=True):
    """What a worker holds; *at* is the time of the Redis server."""

    at: float
    loaded: tuple[str, ...]


class Incomplete(Exception):
    """The parts in Redis are not the whole version: not there yet, or lost on the way."""


class Build(Protocol):
    """Makes a library of entries, in a thread."""

    def __call__(self, entries: Sequence[Entry], *, version: int, rest: Callable[[], None]) -> Library: ...


def parts_key(sha: str) -> str:
    """Return the Redis key of a version's parts."""
    return f"{PREFIX}library:{sha}"


def pack(data: bytes) -> list[bytes]:
    """Return the parts of a version, whose canonical JSON is *data*. Seconds: call it in a thread.

    Its bytes go as they are: an entry of an older version has fewer fields, and the digest is over what was frozen.
    """
    entries = msgspec.json.decode(data, type=list[msgspec.Raw])
    return [
        zlib.compress(b"[" + b",".join(map(bytes, entries[start : start + PART])) + b"]")
        for start in range(0, max(1, len(entries)), PART)
    ]


def unpack(parts: Sequence[bytes], rest: Callable[[], None] = lambda: None) -> tuple[list[Entry], str]:
    """Return the entries in *parts*, and the digest of their canonical JSON. Seconds: call it in a thread."""
    decoder, digest = msgspec.json.Decoder(list[Entry]), sha256(b"[")
    entries: list[Entry] = []
    for part in parts:
        data = zlib.decompress(part)
        digest.update(b"," + data[1:-1] if entries else data[1:-1])
        entries += decoder.decode(data)
        rest()
    digest.update(b"]")
    return entries, digest.hexdigest()


async def server_time(redis: "Redis") -> float:
    """Return the Redis server's clock, which all machines share."""
    seconds, microseconds = await redis.time()
    return float(seconds) + microseconds / 1e6


@contextlib.contextmanager
def unswept() -> Iterator[None]:
    """Keep the garbage collector from walking through what is made in the block, then and ever after.

    Each of its full passes would hold the event loop for as long as it takes to look at every entry. The passes over
    what is young go on.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(young, middle, old)


class Shelf:
    """The versions that a worker holds.

    `library` is the live one (an empty one until the first arrives, see `has_library`), `canary` the one that only
    counts. Both are exchanged whole, in the event loop, between two steps of a turn: take hold of one and keep it for
    as long as its answers must agree with each other. *on_change* is called after each exchange.
    """

    def __init__(
        self, redis: "Redis", on_change: Callable[[], None] = lambda: None, build: Build = Library.build
    ) -> None:
        self.redis = redis
        self.on_change = on_change
        self.build = build
        self.library = Library.build(())
        self.canary: Library | None = None
        self.has_library = False
        self.identity = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.arrangement = Arrangement()
        self._held: dict[Ref, Library] = {}
        self._failed: set[Ref] = set()
        self._retired: list[Library] = []
        self._expiries: dict[Ref, int] = {}
        """When the first entry of a version expires that it was built with, Unix time."""
        self._stale: dict[Ref, Library] = {}
        """Versions that are being built anew without an expired entry; they serve until then."""
        self._news = asyncio.Event()

    def take(self, document: Any) -> None:
        """Follow a newly published arrangement; what is held already counts from now on."""
        self.arrangement = msgspec.convert(document, Arrangement)
        self._failed &= set(self.arrangement.wanted)
        self._arrange()

    def use(self, library: Library) -> None:
        """Have *library* live until an arrangement says otherwise."""
        self.library, self.has_library = library, True
        self.on_change()

    async def run(self) -> None:
        """Fetch and build what is wanted, and report, until cancelled."""
        try:
            await together(self._fetch(), self._report_for_ever(), self._retire(), self._expire())
        finally:
            with contextlib.suppress(RedisError, OSError):
                await self.redis.hdel(READY, self.identity)

    def _arrange(self) -> None:
        """Use what is held as the arrangement says; let go of the rest."""
        now, before = self.arrangement, (self.library, self.canary)
        live = self._held.get(now.live) if now.live is not None else None
        if live is not None:
            self.library, self.has_library = live, True
        self.canary = self._held.get(now.canary) if now.canary is not None else None
        for ref in set(self._held) - set(now.wanted):
            if self._held[ref] is not self.library:  # it serves until the next one is here
                self._retired.append(self._held.pop(ref))
        self._news.set()
        if before != (self.library, self.canary):
            self.on_change()

    async def _fetch(self) -> None:
        while True:
            self._news.clear()
            missing = [ref for ref in self.arrangement.wanted if ref not in self._held and ref not in self._failed]
            if missing:
                await self._fetch_one(missing[0])
                continue
            try:
                async with asyncio.timeout(FAILED_SECONDS if self._failed else None):
                    await self._news.wait()
            except TimeoutError:
                self._failed.clear()

    async def _fetch_one(self, ref: Ref) -> None:
        try:
            with unswept():
                self._held[ref] = await self._load(ref)
        except (Incomplete, RedisError, OSError) as error:
            log.info("version %d of the keyword library is not here yet: %s", ref.n, error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("version %d of the keyword library cannot be used; the one before it stays", ref.n)
            self._failed.add(ref)
        else:
            self._arrange()
            if ref in self._stale:
                self._retired.append(self._stale.pop(ref))
            with contextlib.suppress(RedisError, OSError):
                await self._report()

    async def _load(self, ref: Ref) -> Library:
        began, key = time.monotonic(), parts_key(ref.sha)
        parts: list[Any] = [await self.redis.lindex(key, index) for index in range(await self.redis.llen(key))]
        ends: list[int] = []
        made: list[Library] = []  # a result of the thread's future would live on in that future, a cycle

        def make() -> None:
            entries, sha = unpack(parts, _rest) if None not in parts else ([], "")
            if sha != ref.sha:
                raise Incomplete("its parts are not all there")
            now = time.time()
            alive = [entry for entry in entries if entry.alive(now)]
            made.append(self.build(alive, version=ref.n, rest=_rest))
            ends.extend(entry.expires_at for entry in alive if entry.expires_at is not None)

        await asyncio.to_thread(make)
        if ends:
            self._expiries[ref] = min(ends)
        log.info("keyword library %d: %d entries in %.1f s", ref.n, len(made[0].entries), time.monotonic() - began)
        return made.pop()

    async def _report_for_ever(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                await self._report()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _report(self) -> None:
        report = Report(await server_time(self.redis), tuple(ref.sha for ref in self._held))
        await self.redis.hset(READY, self.identity, msgspec.json.encode(report).decode())

    async def _expire(self) -> None:
        """Have a version built anew once an entry of it has expired."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for ref, moment in tuple(self._expiries.items()):
                if time.time() >= moment:
                    del self._expiries[ref]
                    if ref in self._held:
                        self._stale[ref] = self._held.pop(ref)
                        self._news.set()

    async def _retire(self) -> None:
        """Let go of libraries that no turn uses any more."""
        while True:
            await asyncio.sleep(RETIRE_SECONDS)
            if self._retired:
                await _unused(self._retired)
                try:
                    await crumble([self._retired.pop()], "keywords")
                except Exception:
                    log.exception("an old keyword library cannot be let go of little by little")


def _rest() -> None:
    """Leave the interpreter to the event loop for a moment."""
    time.sleep(REST_SECONDS)


async def _unused(held: list[Library]) -> None:
    """Return when nobody but the list holds its last library."""
    for _ in range(LONGEST_RETIREMENT):
        if sys.getrefcount(held[-1]) <= ALONE:
            return
        await asyncio.sleep(RETIRE_SECONDS)
