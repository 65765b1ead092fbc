"""How old turns leave the index."""

import time

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit import expiry
from gateway.audit.entries import Admin
from gateway.audit.expiry import DAY_MS, WEEK_MS, Expiry, make_room, name_of, partitions, week_of
from gateway.audit.search import EventFilter, Filter, Search
from gateway.audit.tables import audit_turns
from tests.gateway.audit.indexing import NOW, begin, index, kept


async def ids(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set((await connection.execute(select(audit_turns.c.id))).scalars())


async def test_what_is_too_old_goes(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small parts, with what it was found by; on PostgreSQL with the whole week."""
    monkeypatch.setattr(expiry, "BATCH", 10)
    monkeypatch.setattr(expiry, "PAUSE_SECONDS", 0.0)
    old = NOW - 200 * DAY_MS
    turns = [begin(f"old{i}", old, words=kept("旧话")) for i in range(35)]
    events = [Admin(at=at, admin="a", action="x") for at in (old, NOW)]
    await index(engine, *turns, begin("new", words=kept("旧话")), *events)
    await Expiry(engine, 183).step()
    assert await ids(engine) == {"new"}
    assert [row.id for row in (await Search(engine).page(Filter(text="旧话"), 100)).turns] == ["new"]
    assert len(await Search(engine).events(EventFilter(), 10)) == 1
    if engine.dialect.name == "sqlite":
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM audit_terms"))).scalar() == 1
    assert await Expiry(engine, 183).step() == 0


async def test_turns_of_odd_times_go_too(engine: AsyncEngine) -> None:
    """Those of a clock that was wrong; those of the future stay."""
    await index(engine, begin("past", -5), begin("ancient", 1000), begin("future", NOW + 100 * DAY_MS), begin("now"))
    await Expiry(engine, 183).step()
    assert await ids(engine) == {"future", "now"}


async def test_weeks_are_made_ahead_and_dropped_whole(engine: AsyncEngine) -> None:
    """PostgreSQL's partitions: no row is deleted one by one."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no partitions")
    now = [time.time()]
    one = Expiry(engine, 183, lambda: now[0])
    await one.step()
    async with engine.connect() as connection:
        made = await partitions(connection)
    weeks = [week_of(NOW), week_of(NOW + WEEK_MS)]
    assert made == {week: name_of(week) for week in weeks}
    await index(engine, begin("a"))
    now[0] += 183 * 86_400 + 8 * 86_400
    assert await one.step() == 0
    assert await ids(engine) == set()
    async with engine.connect() as connection:
        assert weeks[0] not in await partitions(connection)


async def test_a_week_with_turns_elsewhere_is_not_made(engine: AsyncEngine) -> None:
    """A clock that was ahead has put them into the default partition: others join them there."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no partitions")
    ahead = NOW + 30 * DAY_MS
    await index(engine, begin("early", ahead))
    async with engine.begin() as connection:
        await make_room(connection, [ahead], now=ahead)
        assert week_of(ahead) not in await partitions(connection)
    await index(engine, begin("other", ahead))
    assert await ids(engine) == {"early", "other"}
