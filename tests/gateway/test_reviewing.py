"""Appeals and webhooks through all their parts: log, tables, decision, standing, receiver."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Appeal, Person, decode, encode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from gateway.audit.writer import Writer, open_writer
from gateway.complaints.published import Board
from gateway.people.ledger import Ledger
from gateway.problems import Problem
from gateway.reviewing import reviewing, upheld
from gateway.settings import Settings
from gateway.state import sql
from policies.strikes import Rule
from tests.following import follow
from tests.gateway.webhooks.conftest import SECRET, Receiver


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
        await ledger.count("p1", f"u{n}", violation=True)
    assert (await ledger.look("p1")).state.level == 1
    staff = reviewing(settings, engine, redis, chain=writer, uphold=upheld(ledger, writer))
    at = int((await ledger.look("p1")).state.at)
    record = Appeal(at=at, id="apl_1", key="k1", tenant="acme", person="p1", user="u1", text="误会", due=at + 1_000)
    writer.append(encode(record))
    await follow(engine, tmp_path / "audit", *staff.sinks)
    task = asyncio.create_task(staff.run())
    await staff.review.decisions.uphold("apl_1", "误判", "ann")
    found = (await ledger.look("p1")).state
    assert (0, 0, 0) == (found.row, found.until, found.level)
    await follow(engine, tmp_path / "audit", *staff.sinks)
    async with asyncio.timeout(5):
        await receiver.arrived.wait()
        while (status := await Board(redis, "appeals").read("apl_1", "acme")) is None or status.status == "open":
            await asyncio.sleep(0.01)
    assert ("upheld", "误判") == (status.status, status.answer)
    assert [b'"type":"person.upheld"' in body for _, body in receiver.got] == [True]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    server.close()


async def test_a_restored_standing_is_on_record(tmp_path: Path, parts: tuple[AsyncEngine, Writer, Ledger]) -> None:
    """With who, why, and the number that the change was given; while standings are rebuilt it is a 503."""
    _, writer, ledger = parts
    uphold = upheld(ledger, writer)
    with pytest.raises(Problem) as caught:
        await uphold("p1", "误判", "ann")
    assert (503, "standing_unknown") == (caught.value.status, caught.value.code)
    await ledger.open("epoch")
    await uphold("p1", "误判", "ann")
    [directory] = writers(tmp_path / "audit")
    record = [decode(row.body) for row in read(directory)][-1]
    assert isinstance(record, Person)
    assert (record.person, record.kind, record.by, record.reason) == ("p1", "uphold", "ann", "误判")
    assert record.strike.seq == (await ledger.look("p1")).seq
