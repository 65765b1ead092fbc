"""The outbox, on both databases."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from gateway.state import sql
from gateway.webhooks import outbox as module
from gateway.webhooks.backoff import GIVE_UP_SECONDS
from gateway.webhooks.outbox import CLAIM_SECONDS, KEPT_SECONDS, NotFailed, Outbox, UnknownDelivery
from gateway.webhooks.rules import Webhook
from tests.gateway.webhooks.conftest import SECRET, message, queue


@pytest.fixture
def hook() -> Webhook:
    return Webhook(url="https://a.example/t", secret=SECRET)  # type: ignore[arg-type]


async def test_an_event_is_queued_once(engine: AsyncEngine, hook: Webhook) -> None:
    """For each receiver, however often its record is read."""
    other = Webhook(url="https://a.example/u", secret=SECRET)  # type: ignore[arg-type]
    for _ in range(2):
        await queue(engine, hook, message(1), message(2))
        await queue(engine, other, message(1))
    outbox = Outbox(engine)
    assert ((2, 0), (1, 0)) == (await outbox.counts(hook.id), await outbox.counts(other.id))


async def test_a_delivery_is_claimed_by_one(database: Settings, engine: AsyncEngine, hook: Webhook) -> None:
    """Of two control processes, whoever comes first, until the claim is over."""
    await queue(engine, hook, *(message(n, f"p{n}") for n in range(1, 9)))
    async with sql.opened(database) as other:
        both = [Outbox(engine), Outbox(other)]
        found = await asyncio.gather(*(both[n % 2].claim(hook.id, 4, 10) for n in range(4)))
        claimed = [one.event_id for part in found for one in part]
        claimed += [one.event_id for one in await both[0].claim(hook.id, 99, 10)]
        assert sorted(claimed) == [f"evt_{n}" for n in range(1, 9)]
        assert [] == await both[1].claim(hook.id, 99, 10 + CLAIM_SECONDS)
        again = await both[1].claim(hook.id, 99, 11 + CLAIM_SECONDS)
    assert (8, {2}) == (len(again), {one.attempts for one in again})


async def test_a_person_is_told_of_in_order(engine: AsyncEngine, hook: Webhook) -> None:
    """The lift waits for the suspension before it; somebody else's message does not."""
    await queue(engine, hook, message(1), message(2), message(3, "p2"))
    outbox = Outbox(engine)
    first, other = await outbox.claim(hook.id, 9, 10)
    assert ("evt_1", "evt_3") == (first.event_id, other.event_id)
    assert [] == await outbox.claim(hook.id, 9, 10)
    await outbox.failed(first, "status 500", 10, 20)
    assert [] == await outbox.claim(hook.id, 9, 15)
    [first] = await outbox.claim(hook.id, 9, 20)
    await outbox.delivered(first, 20)
    assert ["evt_2"] == [one.event_id for one in await outbox.claim(hook.id, 9, 20)]


async def test_it_is_given_up_and_can_be_tried_anew(engine: AsyncEngine, hook: Webhook) -> None:
    """After three days, with the last error; by hand it begins anew."""
    await queue(engine, hook, message(1), message(2))
    outbox = Outbox(engine)
    [one] = await outbox.claim(hook.id, 9, 10)
    await outbox.failed(one, "status 500\0", 10, GIVE_UP_SECONDS + 1)
    [shown] = await outbox.page(9, 0, "failed")
    assert (shown["attempts"], shown["last_error"], shown["receiver"]) == (1, "status 500\ufffd", "https://a.example")
    assert (1, 1) == await outbox.counts(hook.id)
    assert "hook" not in shown
    again = await outbox.retry(shown["id"], 500_000)
    assert (again["status"], again["next_at"], again["finished_at"]) == ("pending", 500_000, None)
    with pytest.raises(NotFailed, match="pending"):
        await outbox.retry(shown["id"], 500_000)
    with pytest.raises(UnknownDelivery):
        await outbox.retry(999, 500_000)
    assert ["evt_1"] == [one.event_id for one in await outbox.claim(hook.id, 9, 500_000)]


async def test_who_lost_a_claim_changes_nothing_by_failing(engine: AsyncEngine, hook: Webhook) -> None:
    """But what was delivered is delivered, whoever brought it."""
    await queue(engine, hook, message(1))
    outbox = Outbox(engine)
    [slow] = await outbox.claim(hook.id, 9, 10)
    [quick] = await outbox.claim(hook.id, 9, 100)
    await outbox.failed(slow, "late", 101, 105)
    assert [] == await outbox.claim(hook.id, 9, 110)
    await outbox.delivered(slow, 111)
    await outbox.failed(quick, "status 409", 112, 120)
    assert ["delivered"] == [one["status"] for one in await outbox.page(9, 0)]


async def test_the_outbox_is_bounded(engine: AsyncEngine, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is shown as failed; what is over goes in time, or when there is too much of it."""
    monkeypatch.setattr(module, "MOST_PENDING", 2)
    await queue(engine, hook, message(1), message(2), message(3))
    await queue(engine, hook, message(4))
    outbox = Outbox(engine)
    assert (2, 2) == await outbox.counts(hook.id)
    assert {module.FULL} == {one["last_error"] for one in await outbox.page(9, 0, "failed")}
    monkeypatch.setattr(module, "MOST_KEPT", 1)
    await outbox.forget(KEPT_SECONDS)
    assert ["evt_4", "evt_2", "evt_1"] == [one["event_id"] for one in await outbox.page(9, 0)]
    await outbox.forget(KEPT_SECONDS + 1)
    assert ["evt_2", "evt_1"] == [one["event_id"] for one in await outbox.page(9, 0)]


async def test_deliveries_are_listed_from_the_newest(engine: AsyncEngine, hook: Webhook) -> None:
    """Page by page."""
    await queue(engine, hook, *(message(n) for n in range(1, 6)))
    outbox = Outbox(engine)
    page = await outbox.page(3, 0)
    assert ["evt_5", "evt_4", "evt_3"] == [one["event_id"] for one in page]
    assert ["evt_2", "evt_1"] == [one["event_id"] for one in await outbox.page(3, page[-1]["id"])]


async def test_a_receiver_that_is_gone_is_given_up(engine: AsyncEngine, hook: Webhook) -> None:
    """Nobody knows its address any more."""
    await queue(engine, hook, message(1))
    outbox = Outbox(engine)
    assert (0, 1) == (await outbox.abandon([hook.id], 10), await outbox.abandon([], 10))
    assert ["failed"] == [one["status"] for one in await outbox.page(9, 0)]
