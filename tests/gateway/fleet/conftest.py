"""A machine: its fleet, over a real Valkey, and a worker that follows it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from backends.deployment import Deployment
from backends.endpoint import Endpoint, ReplicaState
from backends.pool import Pool, Waiting
from backends.upstream import Upstream
from gateway.fleet.fleet import Fleet
from gateway.fleet.house import House
from gateway.fleet.member import Member
from gateway.reports import report, reports_path
from gateway.state import board
from gateway.tasks import running
from tests import fake_server
from tests.backends.running import eventually

NODE = "here"


class Machine:
    """The fleet, and what of a worker has to do with it."""

    def __init__(self, redis: "Redis", folder: Path) -> None:
        shared = board.Board(redis)
        self.folder = folder
        self.program = fake_server.write(folder)
        self.fleet = Fleet(NODE, House(folder / "data"), board.Publisher(shared))
        self.pool = Pool(Upstream(), waiting=Waiting(64, 30.0))
        self.follower = board.Follower(shared, {board.replicas_of(NODE): self._take})

    def _take(self, document: list[Any]) -> None:
        self.pool.update(msgspec.convert(document, list[Endpoint]))

    def deployment(self, model: str = "m", **fields: Any) -> Deployment:
        """Return one whose engine is a fake in a process of its own."""
        known = {"engine": "llama_server", "binary": str(self.program), "path": str(self.program), "parallel": 32}
        return Deployment.model_validate({"model": model, **known, **fields})

    def members(self, model: str = "m") -> list[Member]:
        return next((group.members for group in self.fleet.groups if group.deployment.model == model), [])

    def pids(self, model: str = "m") -> list[int | None]:
        """The processes that run a deployment."""
        return [member.replica.process.pid for member in self.members(model)]

    def states(self, model: str = "m") -> list[str]:
        return [member.state.value for member in self.members(model)]

    async def ready(self, model: str = "m", count: int = 1) -> None:
        """Return when the worker knows *count* ready replicas."""

        def known() -> bool:
            line = self.pool.lines.get(model)
            return line is not None and len(line.ready) == count

        await eventually(known)

    async def settled(self) -> None:
        await eventually(lambda: all(group.settled for group in self.fleet.groups))


@contextlib.asynccontextmanager
async def followed(machine: Machine) -> AsyncIterator[None]:
    """Have a worker follow the *machine* within the block."""
    await machine.follower.start()
    try:
        yield
    finally:
        await machine.follower.stop()
        machine.pool.upstream.close()


@contextlib.asynccontextmanager
async def running_machine(redis: "Redis", folder: Path) -> AsyncIterator[Machine]:
    """A machine within the block; all of its engines have ended behind it."""
    made = Machine(redis, folder)
    reporting = report(reports_path(folder / "data"), made.pool)
    async with followed(made), running(asyncio.create_task(reporting)), made.fleet.running():
        yield made
    left = [member.replica for group in made.fleet.groups for member in group.members]
    assert {replica.state for replica in left} <= {ReplicaState.STOPPED}


@pytest.fixture
async def machine(redis: "Redis", tmp_path: Path) -> AsyncIterator[Machine]:
    async with running_machine(redis, tmp_path) as made:
        yield made
