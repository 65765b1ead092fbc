"""From the log to the outbox."""

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.entries import Person, Strike
from gateway.audit.sinks import Heard
from gateway.webhooks.backoff import GIVE_UP_SECONDS
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.rules import Webhook
from gateway.webhooks.sink import OutboxSink
from tests.gateway.webhooks.conftest import SECRET

ALL = Webhook(url="http://a/all", secret=SECRET)  # type: ignore[arg-type]
BANS = Webhook(url="http://b/bans", secret=SECRET, events=("person.banned",))  # type: ignore[arg-type]


def heard(*kinds: str, at: int = 1_000) -> list[Heard]:
    records = [Person(at=at * 1_000, person="p1", kind=kind, strike=Strike(at=at * 1_000)) for kind in kinds]
    return [Heard("n-control0", seq, record) for seq, record in enumerate(records, 1)]


async def names(connection: AsyncConnection, person: str) -> tuple[str, str] | None:
    assert connection.in_transaction()
    return ("acme", "u1") if person == "p1" else None


async def test_each_receiver_gets_what_it_wants(engine: AsyncEngine) -> None:
    """In the order of the log, once, with the person's name where somebody knows it."""
    poked: list[bool] = []
    sink = OutboxSink([ALL, BANS], names=names, poke=lambda: poked.append(True), clock=lambda: 1_001.0)
    for _ in range(2):
        async with engine.begin() as connection:
            await sink.take(connection, heard("suspend", "exempt", "ban", "lift"))
    found = [(one["receiver"], one["type"]) for one in reversed(await Outbox(engine).page(9, 0))]
    assert [("http://a", f"person.{what}") for what in ("suspended", "banned", "lifted")] == found[:3]
    assert [("http://b", "person.banned")] == found[3:]
    assert '"user":"u1"' in (await Outbox(engine).page(1, 0))[0]["body"]
    assert poked


async def test_old_news_are_none(engine: AsyncEngine) -> None:
    """A log that is read for the first time is not told all over again."""
    sink = OutboxSink([ALL], names=names, clock=lambda: 1_000.0 + GIVE_UP_SECONDS)
    async with engine.begin() as connection:
        await sink.take(connection, heard("ban"))
        await sink.take(connection, heard("lift", at=1_001))
    assert ["person.lifted"] == [one["type"] for one in await Outbox(engine).page(9, 0)]


async def test_a_transaction_that_fails_queues_nothing(engine: AsyncEngine) -> None:
    """A message is there if, and only if, its record was read."""
    sink = OutboxSink([ALL], names=names, clock=lambda: 1_000.0)
    async with engine.connect() as connection:
        await connection.begin()
        await sink.take(connection, heard("ban"))
        await connection.rollback()
    assert [] == await Outbox(engine).page(9, 0)
