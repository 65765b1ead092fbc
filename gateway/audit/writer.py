"""The writer of one chain: `append` returns when the records are in the kernel's hands, `durable` when on the disk.

`os.write` at the end of a growing file. Measured beside it (docs/audit.md): `pwrite` into a preallocated file costs
the same and stalls longer, one filled with zeros costs twice the writing, and a mapped one stalls up to 23 ms while
another thread syncs and ends the process (SIGBUS) where the file system has no room.
"""

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

from gateway.audit.chain import GENESIS, HEADER, framed
from gateway.audit.entries import Segment, Torn, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.recovery import resume
from gateway.audit.segments import HEAD, HEAD_BYTES, Head, segment, write_head
from gateway.audit.settling import Settler
from gateway.audit.slots import Slot, take

log = logging.getLogger(__name__)

SHANGHAI = timezone(timedelta(hours=8))  # without daylight saving since 1991
PROBE_BYTES = 1 << 16
"""Room that a disk must have before turns are taken again."""
CLOSED = "it is closed"


def day_end(at: float) -> float:
    """Return when the day in Shanghai ends that the Unix time *at* lies in."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(SHANGHAI)
    return (moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)).timestamp()


class Writer:
    """Owns a slot, its open segment and the thread that syncs it.

    `append` and `durable` belong to one event loop. While there is `trouble` every call raises, and the thread alone
    touches the files: each second it tries whether they can be written again.
    """

    def __init__(
        self,
        slot: Slot,
        *,
        power: bool = False,
        segment_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Go on with the chain of *slot*, which is released with `close`. Raises `AuditUnavailable`."""
        self.slot = slot
        self.trouble: str | None = None
        """Why nothing can be written now; for the metrics and for readiness."""
        self.waits = power
        """Whether a turn goes on only when its record is on the disk."""
        self.failures = 0
        """Of writing and of syncing, since the start."""
        self._segment_bytes = segment_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._retired: list[int] = []
        self._suspect = False
        self._fd = self._head_fd = -1
        self._path, self._size, self._until, self._new = Path(), 0, 0.0, True
        self._seq, self._hash = 0, GENESIS
        try:
            self._resume()
        except (OSError, AuditUnavailable) as error:
            for descriptor in (self._fd, self._head_fd):
                if descriptor >= 0:
                    os.close(descriptor)
            slot.release()
            raise error if isinstance(error, AuditUnavailable) else AuditUnavailable(str(error)) from error
        self.settler = Settler(self, power=power)
        self.settler.start()

    def append(self, *bodies: bytes) -> int:
        """Write records in one piece; return the number of the last. Raises `AuditUnavailable`: none is written.

        Each call ends in the same segment. It blocks for microseconds, never for the disk, but for a new segment.
        """
        if self.trouble is not None:
            raise AuditUnavailable(self.trouble)
        with self._lock:
            if self.trouble is not None:  # the thread was quicker
                raise AuditUnavailable(self.trouble)
            try:
                if self._size >= self._segment_bytes or self._clock() >= self._until:
                    self._begin()
                if len(bodies) == 1:  # as `_write` does, without its detours: nearly every call
                    body = bodies[0]
                    digest = sha256(self._hash + body).digest()
                    data = HEADER.pack(len(body), digest) + body
                    _write_all(self._fd, data)
                    self._size += len(data)
                    self._hash = digest
                    self._seq += 1
                else:
                    self._write(bodies)
            except OSError as error:
                raise self._failed(error) from error
        self.settler.poke()
        return self._seq

    async def durable(self, seq: int) -> None:
        """Return when record *seq* is as safe as `durability` asks for. Raises `AuditUnavailable`."""
        if self.waits:
            await self.settler.wait(seq)

    @property
    def head(self) -> Head:
        """The last record that is written."""
        return Head(self._seq, self._hash)

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest record that is not synced has waited."""
        return self.settler.lag_seconds

    def close(self) -> None:
        """Sync what is written, end the thread, let go of the slot."""
        if self.trouble == CLOSED:
            return
        self.settler.stop()
        with self._lock:
            self.trouble = CLOSED
            for descriptor in (*self._retired, self._fd, self._head_fd):
                with suppress(OSError):
                    os.close(descriptor)
            self.slot.release()

    def sync(self) -> Head:
        """Bring what is written to the disk; return how far. The thread's; raises `OSError`.

        Whatever begins meanwhile is of the next sync; only here and in `retry` are segments closed.
        """
        with self._lock:
            head, current = self.head, self._fd
            retired, self._retired = self._retired, []
        try:
            for descriptor in {*retired, current}:
                os.fdatasync(descriptor)
        finally:
            for descriptor in retired:
                os.close(descriptor)
        self.check()
        if self._new:
            self._new = False
            _sync_directory(self.slot.directory)
        write_head(self._head_fd, head)
        return head

    def check(self) -> None:
        """Raise `OSError` where what is written would go to a file that nobody finds. The thread's."""
        with self._lock:
            path, descriptor = self._path, self._fd
        if not os.path.samestat(path.stat(), os.fstat(descriptor)) or self.slot.gone():
            raise OSError(errno.ESTALE, "its files were removed or replaced", str(path))

    def suspect(self, error: OSError) -> None:
        """Have the segment not be used again: after a failed sync the kernel takes its lost pages for clean."""
        with self._lock:
            self._suspect = True
            self._failed(error)

    def retry(self) -> bool:
        """Try whether writing works again; return whether it does. The thread's, while there is trouble."""
        with self._lock:
            try:
                if self._suspect or self.slot.gone():
                    self._renew()
                    self._suspect = False
                os.ftruncate(self._fd, self._size)
                _write_all(self._fd, bytes(PROBE_BYTES))
                os.ftruncate(self._fd, self._size)
                self._suspect = True
                os.fdatasync(self._fd)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._size)
                self.trouble = str(error)
                return False
            self._suspect = False
            self.trouble = None
            log.warning("audit: %s can be written again", self.slot.name)
            return True

    def _resume(self) -> None:
        found = resume(self.slot.directory)
        self._seq, self._hash = found.seq, found.hash
        self._head_fd = self._open_head()
        if found.file:
            self._open(segment(self.slot.directory, found.file), found.size, found.began / 1000, os.O_APPEND)
        else:
            self._begin()
        torn = [encode(Torn(at=self._now(), bytes=cut.bytes, sha256=cut.sha256)) for cut in found.cut]
        if torn:
            self._write(torn)

    def _write(self, bodies: "tuple[bytes, ...] | list[bytes]") -> None:
        """Append frames to the open segment. Raises `OSError`."""
        data, last = framed(self._hash, bodies)
        _write_all(self._fd, data)
        self._size += len(data)
        self._seq, self._hash = self._seq + len(bodies), last

    def _begin(self) -> None:
        """Go on in a new segment. Raises `OSError`, and the old one stays."""
        path = segment(self.slot.directory, self._seq + 1)
        old = self._fd, self._path, self._size, self._until
        self._open(path, 0, self._clock(), os.O_APPEND | os.O_CREAT | os.O_TRUNC)  # what is there, failed to begin
        try:
            self._write([encode(Segment(at=self._now(), writer=self.slot.name))])
        except OSError:
            os.close(self._fd)
            self._fd, self._path, self._size, self._until = old
            path.unlink(missing_ok=True)
            raise
        if old[0] >= 0:
            self._retired.append(old[0])

    def _open(self, path: Path, size: int, began: float, flags: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
        self._path, self._size, self._until, self._new = path, size, day_end(began), True

    def _open_head(self) -> int:
        descriptor = os.open(self.slot.directory / HEAD, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(descriptor, 0, HEAD_BYTES)  # a full disk shall not look like a failed sync
        return descriptor

    def _renew(self) -> None:
        """Go on in a new file, in a new directory where the old one was removed."""
        if self.slot.gone():
            self.slot.renew()
            old, self._head_fd = self._head_fd, self._open_head()
            os.close(old)
        self._begin()
        for descriptor in self._retired:  # not synced: the file is not to be trusted, or not there
            os.close(descriptor)
        self._retired = []

    def _failed(self, error: OSError) -> AuditUnavailable:
        """Cut back to the last whole frame, and refuse from now on."""
        with suppress(OSError):
            os.ftruncate(self._fd, self._size)  # else the thread does, before anything is written again
        self.failures += 1
        log.error("audit: %s cannot be written, requests are refused: %s", self.slot.name, error)
        self.trouble = str(error)
        self.settler.poke()
        return AuditUnavailable(self.trouble)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def open_writer(root: Path, kind: str, *, power: bool = False, segment_bytes: int = 64 << 20) -> Writer:
    """Return the writer of this process: the first free slot of *kind* under *root*. Raises `AuditUnavailable`."""
    return Writer(take(root, kind), power=power, segment_bytes=segment_bytes)


async def closed(writer: Writer) -> None:
    """Close *writer* without blocking the event loop for its last sync."""
    await asyncio.to_thread(writer.close)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write in one piece. Raises `OSError`, also where only a part could be written."""
    if (written := os.write(descriptor, data)) < len(data):
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
