"""Staff's part of the control process: queues, decisions and webhooks, put together."""

import asyncio
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.review import Review
from gateway.audit.entries import Person, Strike, encode
from gateway.audit.log import Chain
from gateway.audit.sinks import Sink
from gateway.complaints.decisions import Uphold
from gateway.complaints.keeper import Keeper
from gateway.complaints.labels import FindTurn, find_nothing
from gateway.complaints.sink import CaseSink
from gateway.people.ledger import Incomplete, Ledger
from gateway.problems import Problem
from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.events import Names, nameless
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
    find_turn: FindTurn = find_nothing,
    names: Names = nameless,
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


def upheld(ledger: Ledger, chain: Chain) -> Uphold:
    """Return what restores a standing, and puts it on record with the moment and number that it was given."""

    async def uphold(person: str, reason: str, by: str) -> None:
        try:
            change = await ledger.lift(person, upheld=True)
        except Incomplete:
            text = "The standings are being rebuilt; the appeal is still open."
            raise Problem(503, text, kind="server_error", code="standing_unknown", retry_after=5) from None
        strike = Strike(change.at, change.seq, change.event, change.before.state, change.after.state)
        record = Person(at=change.at, person=person, kind="uphold", strike=strike, by=by, reason=reason)
        await chain.durable(chain.append(encode(record)))

    return uphold
