"""Staff's part of the control process: queues, decisions and webhooks, put together."""

import asyncio
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.review import Review
from gateway.audit.log import Chain
from gateway.audit.sinks import Sink
from gateway.complaints.decisions import Uphold
from gateway.complaints.keeper import Keeper
from gateway.complaints.labels import FindTurn
from gateway.complaints.sink import CaseSink
from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.events import Names
from gateway.webhooks.sink import OutboxSink


@dataclass(frozen=True, slots=True)
class Reviewing:
    """What the admin API works on, what the follower of the log feeds, and what runs beside them."""

    review: Review
    sinks: tuple[Sink, ...]
    keeper: Keeper
    deliverer: Deliverer

    async def run(self) -> None:
        """Keep the queues and deliver until cancelled."""
        await asyncio.gather(self.keeper.run(), self.deliverer.run())


def reviewing(  # noqa: PLR0913 - its collaborators, all by name
    settings: Settings,
    engine: AsyncEngine,
    redis: "Redis",
    *,
    chain: Chain,
    uphold: Uphold,
    find_turn: FindTurn,
    names: Names,
) -> Reviewing:
    """Put it together; nothing runs yet."""
    metrics = ReviewMetrics()
    keeper = Keeper(engine, redis, metrics, settings.audit.retention_days)
    deliverer = Deliverer(engine, settings.webhooks, metrics)
    review = Review.over(
        engine, uphold=uphold, chain=chain, find_turn=find_turn, changed=keeper.poke, deliver=deliverer.poke
    )
    sinks = (CaseSink(), OutboxSink(settings.webhooks, names=names, poke=deliverer.poke))
    return Reviewing(review, sinks, keeper, deliverer)
