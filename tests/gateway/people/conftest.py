"""What is done about people, on a real database of each kind, a real state server and a real chain."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Accepted, AnyRecord, Applied, Finished, Person, Strike, decode, encode
from gateway.audit.record import new_id
from gateway.audit.segments import read
from gateway.audit.writer import Writer, open_writer
from gateway.people.directory import Directory
from gateway.people.ledger import Ledger
from gateway.people.rebuild import Rebuilder
from gateway.people.services import PeopleServices
from gateway.settings import Settings
from gateway.state import sql
from policies.strikes import Rule, State


@dataclass
class World:
    """A control process without its servers, and what a worker knows of it."""

    engine: AsyncEngine
    ledger: Ledger
    writer: Writer
    root: Path
    directory: Directory = field(default_factory=Directory)
    published: int = 0

    def __post_init__(self) -> None:
        self.services = self.over(self.ledger)

    @property
    def people(self) -> Any:
        return self.services.measures

    def over(self, ledger: Ledger, *, counted: bool = True) -> PeopleServices:
        """Return the services over another state server."""
        return PeopleServices.over(self.engine, ledger, self.writer, self.publish, counted=counted)

    async def publish(self) -> None:
        """Give the worker its copy."""
        self.published += 1
        self.directory.take(await self.services.register.document())

    def records(self) -> list[AnyRecord]:
        """Return the records of the log, but for those of the log itself."""
        return [decode(row.body) for row in read(self.writer.slot.directory)][1:]

    def told(self) -> list[tuple[str, str]]:
        """Return what the log says about people: kind and person of what is begun, event of what is done."""
        pairs = []
        for one in self.records():
            if isinstance(one, Person):
                pairs.append((one.kind, one.person))
            elif isinstance(one, Applied):
                pairs.append((f"done {one.strike.event}", one.person))
        return pairs

    async def state(self, person: str) -> State:
        """Return a standing."""
        return (await self.ledger.look(person)).state

    async def replayed(self, person: str) -> State:
        """Lose the state server, have it filled from the log, and return the standing."""
        await self.ledger.redis.flushall()
        rebuilder = Rebuilder(self.ledger, self.root)
        await rebuilder.step()
        return await self.state(person)

    async def say(self, person: str, *words: str) -> None:
        """Have a person say what is a violation: on record, and counted."""
        for word in words:
            at, turn = time.time_ns() // 1_000_000, new_id()
            begin = Accepted(at=at, id=turn, route="chat", key="k", person=person, counts="violation", utterance=word)
            self.writer.append(encode(begin))
            change = await self.ledger.count(person, word, violation=True, name=turn)
            strike = Strike(change.at, change.seq, change.event, change.before.state, change.after.state)
            self.writer.append(encode(Finished(at=at, id=turn, outcome="refused", strike=strike)))


@pytest.fixture
async def world(database: Settings, redis: "Redis") -> AsyncIterator[World]:
    """A world in which nobody is known; of each database in turn."""
    root = database.data_dir / "audit"
    writer = open_writer(root, "control")
    ledger = Ledger(redis, Rule())
    await ledger.open("e1")
    try:
        async with sql.opened(database) as engine:
            yield World(engine, ledger, writer, root)
    finally:
        writer.close()


def away() -> Ledger:
    """Return a ledger whose state server is not there."""
    client: Redis = Redis.from_url("unix:///nonexistent/socket")
    return Ledger(client, Rule())
