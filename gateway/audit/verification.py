"""`verify` beside everything else: in a thread, one at a time, its last report kept."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from gateway.audit.verify import Report

log = logging.getLogger(__name__)

WAIT_SECONDS = 20.0
"""For a verification to end before its request is answered without the report."""


class Verification:
    """Runs *check*, which blocks for as long as the log is large."""

    def __init__(self, check: Callable[[], Report], clock: Callable[[], float] = time.time) -> None:
        self._check = check
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._began: int | None = None
        self._ended: int | None = None
        self._report: dict[str, Any] | None = None
        self._error: str | None = None

    async def start(self, seconds: float = WAIT_SECONDS) -> dict[str, Any]:
        """Begin to verify, or join who does, and wait for the end, *seconds* at most; return `state`.

        Whoever leaves ends nothing.
        """
        if self._task is None or self._task.done():
            self._began, self._ended = self._now(), None
            self._task = asyncio.create_task(self._run())
        await asyncio.wait([self._task], timeout=seconds)
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return whether one runs, when the last one began and ended (Unix ms), and what it found."""
        running = self._task is not None and not self._task.done()
        report = None if running else self._report
        error = None if running else self._error
        return {"running": running, "began": self._began, "ended": self._ended, "error": error, "report": report}

    async def _run(self) -> None:
        self._report = self._error = None
        try:
            self._report = (await asyncio.to_thread(self._check)).document()
        except OSError as error:
            self._error = f"the log cannot be read: {error.strerror or error}"
        except Exception as error:
            log.exception("audit: the log cannot be verified")
            self._error = f"the log cannot be verified: {type(error).__name__}; the gateway's log has more"
        self._ended = self._now()

    def _now(self) -> int:
        return int(self._clock() * 1000)
