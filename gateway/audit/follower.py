"""Brings what is in the log into the database; the control process runs it.

It reads what is safe on the disk, a bounded part of a writer at a time, and moves the writer's cursor in the
transaction that puts the rows there. So each record is taken exactly once, whatever is killed when; and with the
database away nothing is lost, for the log waits.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.chain import HEADER, frames
from gateway.audit.entries import decode
from gateway.audit.heads import Unsigned, writers
from gateway.audit.retention import start
from gateway.audit.segments import Broken, Cursor, Head, read, segment, segments, settled
from gateway.audit.sinks import Heard, Sink
from gateway.audit.tables import audit_cursors
from gateway.metrics import AuditMetrics

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks, where there was nothing left to read."""
BREATH_SECONDS = 0.05
"""Between two parts: SQLite has one writer at a time, and admins write too."""
PAUSE_SECONDS = 1.0
"""After a failure."""
STALE_SECONDS = 3.0
"""Without a look that ended well the index may be behind."""
MOST_RECORDS, MOST_BYTES = 2_000, 4 << 20
"""Of one transaction."""
FEWEST_RECORDS = 50
SLOW_SECONDS = 5.0
"""For a part; then the next ones are shorter, down to `FEWEST_RECORDS`."""
COMMIT_SECONDS = 60.0
"""For the database to take a part; then it is tried with a shorter one."""


class Moved(Exception):
    """A writer's cursor is not where it was left: another process reads the same log, or did until now."""


class Unreadable(Exception):
    """The files of a writer cannot be read now; those of the others can."""


@dataclass(slots=True)
class Part:
    """The next records of a writer."""

    cursor: Cursor
    """Behind them."""
    heard: list[Heard] = field(default_factory=list)
    hole: Broken | None = None
    """Where the chain is broken; the cursor is behind, if anything is there."""
    unreadable: int = 0
    """Records that are whole and say nothing that we know."""
    full: bool = False
    """Whether it ends because it is long enough."""


def next_part(directory: Path, cursor: Cursor, head: Head, most: int) -> Part:
    """Return at most *most* records behind *cursor*, up to *head*, which is safe on the disk.

    Blocks; raises `OSError`.
    """
    part, size = Part(cursor), 0
    try:
        for row in read(directory, cursor):
            if row.cursor.seq > head.seq:
                break
            part.cursor, size = row.cursor, size + len(row.body)
            try:
                part.heard.append(Heard(directory.name, row.cursor.seq, decode(row.body)))
            except msgspec.DecodeError:
                part.unreadable += 1
            if len(part.heard) >= most or size >= MOST_BYTES:
                part.full = True
                return part
    except Broken as broken:
        part.hole = broken
    if part.hole is None and part.cursor == cursor and not _ends(cursor, head):  # cut off, or written anew
        part.hole = Broken("missing", cursor.seq + 1, cursor.file, cursor.offset)
    if part.hole is not None:
        part.cursor = behind(directory, part.hole, head) or part.cursor
    return part


def behind(directory: Path, broken: Broken, head: Head) -> Cursor | None:
    """Return where reading goes on behind a hole; None: there is nothing yet.

    That is the next record, where one was changed; else the next segment; else where the writer is now.
    """
    if broken.kind == "chain":
        return Cursor(broken.file, broken.offset + HEADER.size + len(broken.body), broken.seq, None)
    firsts = segments(directory)
    following = next((first for first in firsts if first >= broken.seq), None)
    if following is not None:
        return Cursor(following, 0, following - 1, None)
    if not firsts:
        return None
    last = firsts[-1]
    for seq, (end, stored, _) in enumerate(frames(segment(directory, last)), last):
        if seq == head.seq:
            return Cursor(last, end, seq, stored)
    return None


def suited(most: int, seconds: float) -> int:
    """Return how many records the next part may have, after one of *most* took so long."""
    if seconds > SLOW_SECONDS:
        return max(FEWEST_RECORDS, most // 4)
    return min(MOST_RECORDS, most * 2) if seconds < SLOW_SECONDS / 4 else most


def _ends(cursor: Cursor, head: Head) -> bool:
    """Return whether nothing is left behind *cursor*. The same number with another hash was written anew."""
    return cursor.seq == head.seq and cursor.hash in {head.hash, None}


def first_cursor(directory: Path) -> Cursor:
    """Return where a writer begins that was never read: behind what retention has dropped."""
    try:
        return start(directory, None)
    except (Unsigned, msgspec.DecodeError, KeyError, ValueError):  # `verify` tells; here it is a hole
        return Cursor()


class Follower:
    """Reads all writers under *root* and has *sinks* take what they wrote, in each writer's order."""

    def __init__(
        self,
        engine: AsyncEngine,
        root: Path,
        sinks: Sequence[Sink],
        metrics: AuditMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._root = root
        self._sinks = sinks
        self._metrics = metrics or AuditMetrics()
        self._clock = clock
        self._cursors: dict[str, Cursor] = {}
        self._doubtful = True
        """Whether the cursors have to be read anew: what the last transaction came to is not known."""
        self._most = MOST_RECORDS
        """Records of a part, as many as the database takes in time."""
        self._looked = clock()
        """When the last look began that took all it saw."""
        self._left = 0
        """Records that the last look has left."""
        self._holes: dict[str, int] = {}
        """The last hole of each writer that was told of."""
        self._trouble: str | None = None

    @property
    def caught_up(self) -> bool:
        """Whether what was safe on the disk some seconds ago is in the index."""
        return self._left == 0 and self._clock() - self._looked < STALE_SECONDS

    async def run(self) -> None:
        """Follow until cancelled. A failure is said once, and tried again until it is over."""
        while True:
            try:
                more = await self.step()
            except Exception as error:  # noqa: BLE001 - a database may fail in every way, and the log waits
                self._failed(error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if self._trouble is not None:
                log.warning("audit: the index can be written again")
                self._trouble = None
            await asyncio.sleep(BREATH_SECONDS if more else LOOK_SECONDS)

    async def step(self) -> bool:
        """Take a part of each writer; return whether there is more.

        Raises what the database raises, `Moved` and `Unreadable`.
        """
        oldest: list[int] = []
        began = self._clock()
        heads = await asyncio.to_thread(self._heads)
        try:
            if self._doubtful:
                self._cursors, self._doubtful = await _stored(self._engine), False
            more = await self._advance_all(heads, oldest)
            self._looked = began
        except BaseException:
            self._doubtful = True
            oldest.append(int(self._looked * 1000))
            raise
        finally:
            self._measure(heads, oldest)
        return more

    async def _advance_all(self, heads: dict[Path, Head], oldest: list[int]) -> bool:
        """Take a part of each writer, though one cannot be read. Raises `Unreadable` in the end."""
        more, failed = False, None
        for path, head in heads.items():
            try:
                more = await self._advance(path, head, oldest) or more
            except Unreadable as error:
                failed = error
        if failed is not None:
            raise failed
        return more

    async def _advance(self, directory: Path, head: Head, oldest: list[int]) -> bool:
        """Take a part of one writer; note when its first record was made."""
        name = directory.name
        known = self._cursors.get(name)
        if known is not None and _ends(known, head):
            return False
        try:
            cursor = known if known is not None else await asyncio.to_thread(first_cursor, directory)
            part = await asyncio.to_thread(next_part, directory, cursor, head, self._most)
        except OSError as error:
            raise Unreadable(f"{name}: {error}") from error
        self._tell(name, part)
        if part.cursor == cursor:
            return False
        oldest += [one.record.at for one in part.heard[:1]]
        began = time.monotonic()
        try:
            await self._commit(name, known, part)
        finally:
            self._most = suited(self._most, time.monotonic() - began)
        self._cursors[name] = part.cursor
        return part.full or part.hole is not None

    async def _commit(self, writer: str, known: Cursor | None, part: Part) -> None:
        async with asyncio.timeout(COMMIT_SECONDS), self._engine.begin() as connection:
            await _move(connection, writer, known, part.cursor)
            if part.heard:
                for sink in self._sinks:
                    await sink.take(connection, part.heard)

    def _tell(self, writer: str, part: Part) -> None:
        """Log and count what cannot be read, each hole once."""
        hole = part.hole
        if part.unreadable:
            log.error("audit: %d records of %s say nothing that the index knows", part.unreadable, writer)
            self._metrics.index_holes.inc(part.unreadable)
        if hole is not None and self._holes.get(writer) != hole.seq:
            self._holes[writer] = hole.seq
            self._metrics.index_holes.inc()
            log.error("audit: the index goes on behind a hole in the log of %s: %s", writer, hole)

    def _heads(self) -> dict[Path, Head]:
        found = {path: settled(path) for path in writers(self._root)}
        return {path: head for path, head in found.items() if head is not None}

    def _measure(self, heads: dict[Path, Head], oldest: list[int]) -> None:
        """Say how far behind the index was as it looked, and how many records it leaves for the next look."""
        known = {name: cursor.seq for name, cursor in self._cursors.items()}
        left = sum(max(0, head.seq - known.get(path.name, 0)) for path, head in heads.items())
        self._left = left
        self._metrics.index_behind.set(left)
        age = self._clock() - min(oldest) / 1000 if oldest else 0.0
        self._metrics.index_lag.set(max(0.0, age))

    def _failed(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {getattr(error, 'orig', None) or error}"
        if text != self._trouble:
            log.error("audit: the index cannot be written now; the log goes on and is caught up with: %s", text)
            self._trouble = text


async def _stored(engine: AsyncEngine) -> dict[str, Cursor]:
    columns = audit_cursors.c
    query = select(columns.writer, columns.file, columns.offset, columns.seq, columns.hash)
    async with asyncio.timeout(COMMIT_SECONDS), engine.connect() as connection:
        return {row[0]: Cursor(*row[1:]) for row in (await connection.execute(query)).all()}


async def _move(connection: AsyncConnection, writer: str, before: Cursor | None, after: Cursor) -> None:
    """Move a cursor; it comes first in the transaction, and holds off whoever reads the same. Raises `Moved`."""
    values = after._asdict()
    columns = audit_cursors.c
    if before is None:  # the key lets one of two through
        await connection.execute(insert(audit_cursors).values(writer=writer, **values))
        return
    where = (columns.writer == writer, columns.file == before.file, columns.seq == before.seq)
    found = await connection.execute(update(audit_cursors).where(*where).values(values))
    if found.rowcount != 1:
        raise Moved(f"the cursor of {writer}")
