"""The thread that brings a writer's records to the disk, and those who wait for it."""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from typing import Protocol

from gateway.audit.errors import AuditUnavailable
from gateway.audit.segments import Head

log = logging.getLogger(__name__)

GROUP_SECONDS = 0.05
"""Of records that are synced together where nobody waits: what a power cut may take."""
IDLE_SECONDS = 1.0
"""Between two looks whether the files are still there."""
RETRY_SECONDS = 1.0

Waiter = tuple[int, "asyncio.Future[None]"]


class Syncing(Protocol):
    """What the thread needs of a writer."""

    trouble: str | None

    @property
    def head(self) -> Head: ...

    def sync(self) -> Head: ...
    def check(self) -> None: ...
    def suspect(self, error: OSError) -> None: ...
    def retry(self) -> bool: ...


class Settler:
    """Syncs in groups, one at a time: every 50 ms, or with *power* as soon as somebody waits."""

    def __init__(self, writer: Syncing, *, power: bool) -> None:
        self.power = power
        self.settled = 0
        """Number of the last record that is safe."""
        self.sync_seconds = 0.0
        """Of the last sync."""
        self._writer = writer
        self._lock = threading.Lock()
        self._waiters: list[Waiter] = []
        self._doubtful = (0, 0)
        self._since: float | None = None
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-sync", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.poke()
        self._thread.start()

    def stop(self) -> None:
        """Sync once more and end the thread."""
        self._end.set()
        self._wake.set()
        self._thread.join()
        if self._writer.trouble is None:
            self._settle()
        self._fail_waiters("it was closed")

    def poke(self) -> None:
        """Say that something is new."""
        if self._since is None:
            self._since = time.monotonic()
            self._wake.set()

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest record that is not synced has waited."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    async def wait(self, seq: int) -> None:
        """Return when record *seq* is safe. Raises `AuditUnavailable` where its sync failed."""
        if seq <= self.settled and not self._doubted(seq):
            return
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._doubted(seq) or self._writer.trouble is not None:
                raise AuditUnavailable(self._writer.trouble or "a sync failed, and the record may be lost")
            self._waiters.append((seq, future))
        self._wake.set()
        await future

    def _doubted(self, seq: int) -> bool:
        return self._doubtful[0] < seq <= self._doubtful[1]

    def _run(self) -> None:
        while not self._end.is_set():
            woken = self._wake.wait(IDLE_SECONDS)
            if self._writer.trouble is not None:
                self._recover()
            elif not woken:
                self._look()
            else:
                if not self.power:
                    self._end.wait(GROUP_SECONDS)
                self._wake.clear()
                self._settle()

    def _settle(self) -> None:
        since, self._since = self._since, None
        began = time.monotonic()
        try:
            head = self._writer.sync()
        except OSError as error:
            self._since = since
            self._doubt(error)
            return
        self.sync_seconds = time.monotonic() - began
        with self._lock:
            self.settled = head.seq
            ready = [waiter for waiter in self._waiters if waiter[0] <= head.seq]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > head.seq]
        _wake(ready, None)

    def _look(self) -> None:
        try:
            self._writer.check()
        except OSError as error:
            self._doubt(error)

    def _doubt(self, error: OSError) -> None:
        """What was written since the last sync may be lost, whatever a second sync says."""
        log.error("audit: %s; turns are refused until it can be written again", error)
        self._writer.suspect(error)
        with self._lock:
            self._doubtful = (self.settled, self._writer.head.seq)
        self._fail_waiters(str(error))

    def _recover(self) -> None:
        log.error("audit: nothing can be written: %s; turns are refused", self._writer.trouble)
        self._fail_waiters(str(self._writer.trouble))
        while not self._end.wait(RETRY_SECONDS):
            if self._writer.retry():
                log.warning("audit: records are written again")
                self._wake.set()
                return

    def _fail_waiters(self, why: str) -> None:
        with self._lock:
            failed, self._waiters = self._waiters, []
        _wake(failed, AuditUnavailable(why))


def _wake(waiters: list[Waiter], error: AuditUnavailable | None) -> None:
    """Let tasks go on, each in its own loop."""
    for loop in {future.get_loop() for _, future in waiters}:
        futures = [future for _, future in waiters if future.get_loop() is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, futures, error)


def _resolve(futures: "list[asyncio.Future[None]]", error: AuditUnavailable | None) -> None:
    for future in futures:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
