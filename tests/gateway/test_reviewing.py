"""Appeals and webhooks through all their parts: log, tables, decision, standing, receiver."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Accepted, Appeal, Text, encode
from gateway.audit.index import Index
from gateway.audit.writer import Writer, open_writer
from gateway.complaints.labels import Turn, finding
from gateway.complaints.published import Board
from gateway.people.directory import person_id
from gateway.people.ledger import Ledger
from gateway.people.measures import People
from gateway.people.seen import Seen, name_of
from gateway.reviewing import reviewing
from gateway.settings import Settings
from gateway.state import sql
from gateway.tasks import ended
from policies.strikes import Rule
from tests.following import follow
from tests.gateway.webhooks.conftest import SECRET, Receiver

PERSON = person_id("acme", "u1")


async def nobody() -> None:
    """Tell no worker."""


@pytest.fixture
async def parts(tmp_path: Path, redis: "Redis") -> AsyncIterator[tuple[AsyncEngine, Writer, Ledger]]:
    writer = open_writer(tmp_path / "audit", "control")
    async with sql.opened(Settings(data_dir=tmp_path)) as engine:
        yield engine, writer, Ledger(redis, Rule())
    writer.close()


async def test_from_an_appeal_to_the_receiver(
    tmp_path: Path, redis: "Redis", parts: tuple[AsyncEngine, Writer, Ledger]
) -> None:
    """A suspended person appeals; staff agree; the standing is good, the worker knows, the receiver was told."""
    engine, writer, ledger = parts
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    settings = Settings(data_dir=tmp_path, webhooks=({"url": receiver.url, "secret": SECRET},))  # type: ignore[arg-type]
    await ledger.open("epoch")
    for n in range(3):
        await ledger.count(PERSON, f"u{n}", violation=True)
    assert (await ledger.look(PERSON)).state.level == 1
    people = People(engine, ledger, writer, nobody)
    find = finding(engine)
    staff = reviewing(settings, engine, redis, chain=writer, uphold=people.uphold, find_turn=find, names=name_of)
    at = int((await ledger.look(PERSON)).state.at)
    record = Appeal(at=at, id="apl_1", key="k1", tenant="acme", person=PERSON, user="u1", text="误会", due=at + 1_000)
    writer.append(encode(record))
    await follow(engine, tmp_path / "audit", Seen(), *staff.sinks)
    task = asyncio.create_task(staff.run())
    await staff.review.decisions.uphold("apl_1", "误判", "ann")
    found = (await ledger.look(PERSON)).state
    assert (0, 0, 0) == (found.row, found.until, found.level)
    await follow(engine, tmp_path / "audit", *staff.sinks)
    async with asyncio.timeout(30):
        await receiver.arrived.wait()
        while (status := await Board(redis, "appeals").read("apl_1", "acme")) is None or status.status == "open":
            await asyncio.sleep(0.01)
    assert ("upheld", "误判") == (status.status, status.answer)
    assert [b'"type":"person.upheld"' in body for _, body in receiver.got] == [True]
    await ended([task])
    server.close()


async def test_a_turn_is_found_by_its_content_id(parts: tuple[AsyncEngine, Writer, Ledger], tmp_path: Path) -> None:
    """With where it is on record and the digests of its texts; of one that nobody knows, nothing."""
    engine, writer, _ = parts
    at, words = time.time_ns() // 1_000_000, Text(2, "ab" * 32)
    seq = writer.append(encode(Accepted(at=at, id="c1", route="/v1/chat/completions", key="k1", words=words)))
    await follow(engine, tmp_path / "audit", Index())
    find = finding(engine)
    assert await find("c1") == Turn(({"writer": writer.slot.directory.name, "seq": seq},), "ab" * 32)
    assert await find("c2") is None
