"""The keeper of the queues."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints import keeper as module
from gateway.complaints.decisions import Decisions
from gateway.complaints.keeper import Keeper
from gateway.complaints.published import Board
from gateway.complaints.store import Cases, Filter
from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.state import sql
from gateway.tasks import ended
from tests.gateway.complaints.cases import appeal, complaint, enter, find_nothing


@pytest.fixture
async def queues(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    async with sql.opened(Settings(data_dir=tmp_path)) as opened:
        yield opened


async def nobody(person: str, reason: str, by: str, appeal: str) -> None:
    del person, reason, by, appeal


async def statuses(redis: "Redis") -> list[str | None]:
    found = [
        await Board(redis, "appeals").read("apl_1", "acme"),
        await Board(redis, "complaints").read("cmp_2", "acme"),
    ]
    return [one.status if one is not None else None for one in found]


async def test_the_workers_are_told(queues: AsyncEngine, redis: "Redis") -> None:
    """Of new cases and of decisions; and of all of it again once Redis has lost it."""
    keeper = Keeper(queues, redis, ReviewMetrics(), 183, lambda: 500.0)
    decisions = Decisions(queues, nobody, find_nothing, changed=keeper.poke, clock=lambda: 400.0)
    await enter(queues, appeal(1), complaint(2))
    await keeper.step()
    assert ["open", "open"] == await statuses(redis)
    await decisions.uphold("apl_1", "误判", "ann")
    await keeper.step()
    assert ["upheld", "open"] == await statuses(redis)
    await redis.flushall()
    await keeper.step()
    assert ["upheld", "open"] == await statuses(redis)


async def test_what_is_overdue_is_counted(queues: AsyncEngine, redis: "Redis") -> None:
    """In a metric, which shows the other queue as well."""
    metrics, now = ReviewMetrics(), [50.0]
    keeper = Keeper(queues, redis, metrics, 183, lambda: now[0])

    def numbers(queue: str) -> list[Any]:
        names = ("gateway_cases_open", "gateway_cases_overdue")
        return [metrics.registry.get_sample_value(name, {"queue": queue}) for name in names]

    await enter(queues, appeal(1), appeal(60), complaint(2))
    await keeper.step()
    assert ([2, 0], [1, 0]) == (numbers("appeals"), numbers("complaints"))
    now[0] = 103.0
    await keeper.step()
    assert ([2, 1], [1, 1]) == (numbers("appeals"), numbers("complaints"))


async def test_old_decisions_go(queues: AsyncEngine, redis: "Redis") -> None:
    """After the days of the log."""
    now = [1_000.0]
    keeper = Keeper(queues, redis, ReviewMetrics(), 183, lambda: now[0])
    await enter(queues, appeal(1))
    await Decisions(queues, nobody, find_nothing, clock=lambda: 1_000.0).reject("apl_1", "x", "ann")
    for days, left in ((183, 1), (184, 0)):
        now[0] = 1_000.0 + days * 86_400
        await keeper.step()
        assert left == len(await Cases(queues, "appeals").page(9, None, Filter(), 0))


async def test_it_goes_on_whatever_happens(
    queues: AsyncEngine, redis: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis away, then back; a poke is heard at once."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 60.0)
    keeper = Keeper(queues, redis, ReviewMetrics(), 183, lambda: 50.0)
    failures = [ConnectionError("away"), ValueError("a fault of ours")]
    stepped = asyncio.Event()
    step = keeper.step

    async def failing() -> None:
        if failures:
            raise failures.pop()
        await step()
        stepped.set()

    monkeypatch.setattr(keeper, "step", failing)
    await enter(queues, appeal(1))
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(30):
        while not stepped.is_set():
            keeper.poke()
            await asyncio.sleep(0.01)
    assert ["open", None] == await statuses(redis)
    await ended([task])
