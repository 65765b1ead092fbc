"""Frozen versions of the keyword library, and the log of which one was live when. Neither is ever changed.

What shall be live follows from the log alone (`standing`); the control process sees to it that the workers follow.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.keys import now
from gateway.keyword_store import EntryInvalid, KeywordStore, Origin, inserted
from gateway.state.sql import alone, keyword_releases, keyword_versions
from keywords.entry import Entry, Match
from keywords.expression import MOST_EXPRESSIONS
from keywords.library import BadPattern, Library
from keywords.matcher import HYPERSCAN

BY_ITSELF = "gateway"
"""Who makes the first version, and ends a canary."""
LONGEST_CANARY_MINUTES = 24 * 60
_ENTRIES = msgspec.json.Decoder(tuple[Entry, ...])
_SHOWN = [column for column in keyword_versions.c if column.name != "entries"]


class UnknownVersion(Exception):
    """There is no version of this number."""


class NotNow(Exception):
    """What is asked does not go together with what is: nothing to freeze, nothing to roll back to."""


class Kind(StrEnum):
    """What a row of the log did."""

    PUBLISH = "publish"
    ROLLBACK = "rollback"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Release:
    """A row of the log."""

    number: int
    n: int
    kind: Kind
    canary_until: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What shall be live; *number* is the row of the log that says so."""

    live: int | None = None
    before: int | None = None
    """What a rollback leads to."""
    canary: int | None = None
    until: int = 0
    """When the canary goes live, Unix time."""
    number: int = 0
    newest: int = 0
    """The last row of the log."""


def standing(log: Iterable[Release]) -> Standing:
    """Return what the *log*, oldest first, comes to.

    Publications stand on each other; a rollback takes away what stands above the version that it names.
    """
    stack: list[Release] = []
    canary: Release | None = None
    newest = decisive = 0
    for row in log:
        newest = row.number
        decisive = decisive if row.kind is Kind.CANARY else newest
        canary = row if row.kind is Kind.CANARY else None
        if row.kind is Kind.ROLLBACK:
            while stack and stack[-1].n != row.n:
                stack.pop()
        if row.kind is not Kind.CANARY and not (stack and stack[-1].n == row.n):
            stack.append(row)
    return Standing(
        live=stack[-1].n if stack else None,
        before=stack[-2].n if len(stack) > 1 else None,
        canary=canary.n if canary is not None else None,
        until=(canary.canary_until or 0) if canary is not None else 0,
        number=decisive,
        newest=newest,
    )


def frozen(entries: Sequence[Entry]) -> bytes:
    """Return the canonical JSON of *entries*: by id, fields by name, no blanks."""
    return msgspec.json.encode(sorted(entries, key=lambda entry: entry.id), order="sorted")


@dataclass(frozen=True, slots=True)
class Difference:
    """How an entry differs between two versions; None: it was not there."""

    old: Entry | None
    new: Entry | None

    @property
    def id(self) -> int:
        """Return the entry's id."""
        entry = self.new or self.old
        return entry.id if entry is not None else 0

    def document(self) -> dict[str, Any]:
        """Return it as people read it."""
        change = "added" if self.old is None else "removed" if self.new is None else "changed"
        return {
            "id": self.id,
            "change": change,
            "old": msgspec.to_builtins(self.old),
            "new": msgspec.to_builtins(self.new),
        }


def differences(old: Sequence[Entry], new: Sequence[Entry]) -> list[Difference]:
    """Return what differs between two versions, by id."""
    before, after = ({entry.id: entry for entry in entries} for entries in (old, new))
    numbers = sorted(before.keys() | after.keys())
    pairs = (Difference(before.get(number), after.get(number)) for number in numbers)
    return [pair for pair in pairs if pair.old != pair.new]


class KeywordVersions:
    """The versions and the log. *matcher*: what the workers build a version with, so that none is frozen in vain."""

    def __init__(self, engine: AsyncEngine, matcher: str = HYPERSCAN) -> None:
        self.engine = engine
        self.matcher = matcher

    async def freeze(self, entries: Sequence[Entry], note: str, by: str) -> dict[str, Any]:
        """Make a version. Raises `NotNow` where nothing has changed since the newest one, and `EntryInvalid`."""
        data = await asyncio.to_thread(frozen, entries)
        sha = sha256(data).hexdigest()
        async with self.engine.connect() as connection:
            await _next_number(connection, sha)
        if sum(entry.match is Match.REGEX for entry in entries) > MOST_EXPRESSIONS:
            raise EntryInvalid("term", f"a version has at most {MOST_EXPRESSIONS} regular expressions")
        try:
            await asyncio.to_thread(Library.build, entries, library=self.matcher)
        except BadPattern as error:
            raise EntryInvalid("term", str(error)) from None
        blob = await asyncio.to_thread(zlib.compress, data)
        values = {"sha": sha, "note": note, "created_by": by, "created_at": now(), "count": len(entries)}
        async with self.engine.begin() as connection:
            await alone(connection, keyword_versions)
            values = {"n": await _next_number(connection, sha), **values}
            await connection.execute(insert(keyword_versions).values({**values, "entries": blob}))
        return values

    async def page(self, limit: int, after: int = 0) -> list[dict[str, Any]]:
        """Return up to *limit* versions in the order of their making, from behind the number *after*."""
        query = select(*_SHOWN).where(keyword_versions.c.n > after).order_by(keyword_versions.c.n).limit(limit)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def get(self, n: int) -> dict[str, Any]:
        """Return one version without its entries. Raises `UnknownVersion`."""
        async with self.engine.connect() as connection:
            row = (await connection.execute(select(*_SHOWN).where(keyword_versions.c.n == n))).mappings().first()
        if row is None:
            raise UnknownVersion(f"There is no version {n}.")
        return dict(row)

    async def entries(self, n: int) -> tuple[Entry, ...]:
        """Return the entries of a version. Raises `UnknownVersion`."""
        data = await self.frozen(n)
        return await asyncio.to_thread(_ENTRIES.decode, data)

    async def frozen(self, n: int) -> bytes:
        """Return the canonical JSON of a version, as it was frozen. Raises `UnknownVersion`."""
        query = select(keyword_versions.c.entries).where(keyword_versions.c.n == n)
        async with self.engine.connect() as connection:
            blob = (await connection.execute(query)).scalar()
        if blob is None:
            raise UnknownVersion(f"There is no version {n}.")
        return await asyncio.to_thread(zlib.decompress, blob)

    async def differences(self, old: int, new: int) -> list[Difference]:
        """Return what differs between two versions, by id. Raises `UnknownVersion`."""
        return await asyncio.to_thread(differences, await self.entries(old), await self.entries(new))

    async def publish(self, n: int, why: str, by: str, canary_minutes: int = 0) -> dict[str, Any]:
        """Have *n* live, after *canary_minutes* in which it only counts. Raises `UnknownVersion` and `NotNow`."""
        if not 0 <= canary_minutes <= LONGEST_CANARY_MINUTES:
            raise EntryInvalid("canary_minutes", f"must lie between 0 and {LONGEST_CANARY_MINUTES}")
        await self.get(n)  # versions are never taken away
        async with self.engine.begin() as connection:
            await alone(connection, keyword_releases)
            found = await _standing(connection)
            if found.live == n and found.canary is None:
                raise NotNow(f"Version {n} is live.")
            if not canary_minutes or found.live is None:
                return await _log(connection, n, Kind.PUBLISH, why, by)
            return await _log(connection, n, Kind.CANARY, why, by, now() + 60 * canary_minutes)

    async def rollback(self, why: str, by: str) -> dict[str, Any]:
        """End a canary, or go back to the version that was live before. Raises `NotNow` where there is neither."""
        async with self.engine.begin() as connection:
            await alone(connection, keyword_releases)
            found = await _standing(connection)
            target = found.live if found.canary is not None else found.before
            if target is None:
                raise NotNow("No version was live before this one.")
            return await _log(connection, target, Kind.ROLLBACK, why, by)

    async def promote(self, found: Standing) -> None:
        """Have the canary of *found* live, unless the log has gone on."""
        if found.canary is None:
            return
        async with self.engine.begin() as connection:
            await alone(connection, keyword_releases)
            if (await _standing(connection)).newest == found.newest:
                await _log(connection, found.canary, Kind.PUBLISH, "the canary's time is over", BY_ITSELF)

    async def standing(self) -> Standing:
        """Return what shall be live."""
        async with self.engine.connect() as connection:
            return await _standing(connection)

    async def newest_release(self) -> int:
        """Return the number of the log's last row; 0 for an empty one."""
        async with self.engine.connect() as connection:
            found = (await connection.execute(select(func.max(keyword_releases.c.number)))).scalar()
        return found or 0

    async def releases(self, limit: int, after: int = 0) -> list[dict[str, Any]]:
        """Return up to *limit* rows of the log, oldest first, from behind the number *after*."""
        number = keyword_releases.c.number
        query = select(keyword_releases).where(number > after).order_by(number).limit(limit)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def went_live(self, number: int) -> None:
        """Note when the release *number* reached the workers."""
        row = keyword_releases.c
        query = update(keyword_releases).where(row.number == number, row.live_at.is_(None)).values(live_at=now())
        async with self.engine.begin() as connection:
            await connection.execute(query)


async def _next_number(connection: AsyncConnection, sha: str) -> int:
    """Return the number of the next version. Raises `NotNow` where the newest one has the same *sha*."""
    c = keyword_versions.c
    newest = (await connection.execute(select(c.n, c.sha).order_by(c.n.desc()).limit(1))).first()
    if newest is not None and newest.sha == sha:
        raise NotNow(f"Nothing has changed since version {newest.n}.")
    return (newest.n if newest is not None else 0) + 1


async def _standing(connection: AsyncConnection) -> Standing:
    c = keyword_releases.c
    rows = (await connection.execute(select(c.number, c.n, c.kind, c.canary_until).order_by(c.number))).all()
    return standing(Release(row.number, row.n, Kind(row.kind), row.canary_until) for row in rows)


async def _log(  # noqa: PLR0913, PLR0917 - the columns of a row
    connection: AsyncConnection, n: int, kind: Kind, why: str, by: str, until: int | None = None
) -> dict[str, Any]:
    values = {"n": n, "kind": kind.value, "why": why, "made_by": by, "created_at": now(), "canary_until": until}
    done = await connection.execute(insert(keyword_releases).values(values))
    return {"number": inserted(done), **values, "live_at": None}


async def ensure_first(store: KeywordStore, versions: KeywordVersions, starter: Callable[[], Sequence[Entry]]) -> None:
    """At the very first start: fill the draft with *starter*, freeze and publish version 1."""
    if not await versions.page(1):
        if not (await store.stamp()).count:
            await store.add_all(await asyncio.to_thread(starter), Origin.STARTER)
        await versions.freeze(await store.entries(), "the library that comes with the gateway", BY_ITSELF)
    if not await versions.newest_release():
        await versions.publish(1, "the first start", BY_ITSELF)
