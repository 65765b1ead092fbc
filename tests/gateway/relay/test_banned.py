"""Bans, exemptions and aliases, from what an admin enters to what a client reads."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.audit.writer import open_writer
from gateway.people.aliases import Row
from gateway.people.directory import person_id
from gateway.people.ledger import Ledger
from gateway.people.services import PeopleServices
from gateway.people.standing import Kept
from gateway.people.watch import Watch
from gateway.settings import Settings
from gateway.state import sql
from keywords.entry import Action, Entry
from keywords.library import Library
from policies.input_policy import Keywords
from policies.strikes import GOOD, UNTIL_LIFTED, Rule
from tests.fakes import FakeEngine
from tests.gateway.conftest import MODEL, Running

WORD = "禁忌配方"
LIBRARY = Library.build([Entry(id=7, term=WORD, risk="A1d", action=Action.BLOCK)])
ANN = person_id("acme", "ann")


@pytest.fixture
async def people(gateway: Running, settings: Settings, tmp_path: Path, redis: "Redis") -> AsyncIterator[PeopleServices]:
    """What admins do; the worker has each change at once."""
    ledger = Ledger(redis, Rule())
    await ledger.open("e1")
    directory = gateway.services.directory
    gateway.set_stages(policy=Keywords(lambda: LIBRARY), standings=Kept(ledger, Watch(ledger), directory))
    writer = open_writer(tmp_path / "audit", "control")
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            directory.take(await found.register.document())

        found = PeopleServices.over(engine, ledger, writer, publish)
        await found.measures.look_up("acme", "ann")
        yield found
    writer.close()


async def say(gateway: Running, text: str, user: str = "ann", path: str = "chat/completions", **more: Any) -> str:
    """Say something, and return all that comes back."""
    body = {"model": MODEL, "user": user, **more}
    body |= {"input": text} if path == "embeddings" else {"messages": [{"role": "user", "content": text}]}
    async with gateway.client() as client:
        return (await client.post(f"/v1/{path}", json=body)).text


async def test_a_banned_person_reads_it_and_no_engine_is_asked(
    gateway: Running, engine: FakeEngine, people: PeopleServices
) -> None:
    """As an ordinary answer, streamed or whole, with the end where there is one; others are untouched."""
    await people.measures.ban(ANN, 4_000_000_000, "r", "eve")
    for more in ({}, {"stream": True}):
        answer = await say(gateway, "你好", **more)
        assert "经管理员审核，现已暂停为您提供服务，恢复时间：2096-10-02 15:06（北京时间）" in answer
    assert '"code":"suspended"' in await say(gateway, "你好", path="embeddings")
    assert engine.received == []
    await say(gateway, "你好", "bob")
    assert len(engine.received) == 1
    await people.measures.ban(ANN, None, "for good", "eve")
    assert "恢复时间" not in await say(gateway, "你好")
    await people.measures.unban(ANN, "r", "eve")
    await say(gateway, "你好")
    assert len(engine.received) == 2


async def test_a_ban_ends_by_itself(gateway: Running, engine: FakeEngine, people: PeopleServices) -> None:
    """When its time is over, with nobody telling the workers."""
    await people.measures.ban(ANN, int(time.time()) + 2, "r", "eve")
    assert "暂停" in await say(gateway, "你好")
    await asyncio.sleep(2)
    assert "暂停" not in await say(gateway, "你好")
    assert len(engine.received) == 1


async def test_whoever_is_exempt_is_refused_and_never_struck(
    gateway: Running, engine: FakeEngine, people: PeopleServices
) -> None:
    """However often; when the exemption ends, it is counted from then on."""
    await people.measures.exempt(ANN, None, "red team", "eve")
    for i in range(6):
        assert "无法回答" in await say(gateway, f"{WORD}{i}")
    assert (await people.measures.ledger.look(ANN)).state == GOOD
    await people.measures.suspend(ANN, UNTIL_LIFTED, "r", "eve")
    assert "暂停" not in await say(gateway, "你好")
    await people.measures.lift(ANN, "r", "eve")
    await people.measures.unexempt(ANN, "over", "eve")
    await say(gateway, f"{WORD}!")
    assert (await people.measures.ledger.look(ANN)).state.row == 1
    assert len(engine.received) == 1


async def test_the_names_of_one_person_count_together(gateway: Running, people: PeopleServices) -> None:
    """Three violations in three apps suspend them all."""
    rows = [Row("acme", alias, "ann") for alias in ("ann-2", "ann-3")]
    await people.aliases.add_all(rows, "apps", "eve")
    for user in ("ann", "ann-2", "ann-3"):
        assert "无法回答" in await say(gateway, f"{WORD}{user}", user)
    for user in ("ann", "ann-2", "ann-3"):
        assert "暂停" in await say(gateway, "你好", user)
    assert "暂停" not in await say(gateway, "你好", "bob")
