"""Watches a started engine: until it is well, and until it is not any more."""

import asyncio
import time
from collections.abc import Callable

from backends.deployment import Deployment
from backends.health import StallDetector
from backends.probe import Address, Probe

MISSES = 3
"""Probes in a row that a ready replica may miss."""


async def until_healthy(deployment: Deployment, where: Address, path: str, poll_seconds: float) -> None:
    """Return when the engine answers its health *path*."""
    async with Probe(deployment, where) as probe:
        while not await probe.healthy(path):  # noqa: ASYNC110 - the engine sends no event
            await asyncio.sleep(poll_seconds)


class Watch:
    """Watches one engine that is ready.

    *silence* returns for how many seconds requests have waited there and nothing has come; None: nobody waits.
    """

    def __init__(self, deployment: Deployment, served_name: str, silence: Callable[[], float | None]) -> None:
        self.deployment = deployment
        self.served_name = served_name
        self.silence = silence
        self.stalls = StallDetector(deployment.stall_seconds)
        self._canary: asyncio.Task[bool] | None = None

    async def until_lost(self, where: Address, path: str, poll_seconds: float) -> str:
        """Return, when it is so, why the engine is of no use any more."""
        misses = 0
        async with Probe(self.deployment, where) as probe:
            try:
                while True:
                    await asyncio.sleep(poll_seconds)
                    misses = 0 if await probe.healthy(path) else misses + 1
                    if misses >= MISSES:
                        return f"the engine missed {MISSES} health probes in a row"
                    if self._stalled(probe):
                        return f"the engine had requests and said nothing for {self.silence() or 0:.0f} s"
            finally:
                await self._drop_canary()

    def _stalled(self, probe: Probe) -> bool:
        """Look once; return whether it is dead: silent to people, and to the canary sent for that."""
        now = time.monotonic()
        suspect = self.stalls.suspects(self.silence(), now)
        if self._canary is None:
            if suspect:
                asking = probe.speaks(self.served_name, self.deployment.tasks, self.stalls.patience)
                self._canary = asyncio.create_task(asking)
            return False
        if not self._canary.done():
            return False
        spoke, self._canary = self._canary.result(), None
        if spoke:
            self.stalls.cleared(now)
        return suspect and not spoke

    async def _drop_canary(self) -> None:
        canary, self._canary = self._canary, None
        if canary is not None:
            canary.cancel()
            await asyncio.gather(canary, return_exceptions=True)
