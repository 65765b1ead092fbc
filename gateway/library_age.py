"""How old the keyword library is that is live, for the metrics."""

import asyncio
import logging
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from gateway.metrics import LibraryMetrics

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0


class Standing(Protocol):
    """Which version is live."""

    @property
    def live(self) -> int | None:
        """Its number; None: none is."""


class Versions(Protocol):
    """The versions of the keyword library; see `gateway.keyword_versions`."""

    async def standing(self) -> Standing:
        """Return which version is live."""

    async def get(self, n: int) -> dict[str, Any]:
        """Return a version, with `created_at` in Unix seconds."""


async def told(versions: Versions, metrics: LibraryMetrics) -> None:
    """Keep the metrics up to date until cancelled; with the database away they stay as they are."""
    while True:
        try:
            live = (await versions.standing()).live
            if live is not None:
                metrics.live_since.set((await versions.get(live))["created_at"])
        except (SQLAlchemyError, OSError) as error:
            log.warning("the age of the keyword library cannot be told now: %s", error)
        await asyncio.sleep(LOOK_SECONDS)
