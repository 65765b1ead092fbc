"""Any story of turns and measures, with answers of the state server lost, ends as a replay of the log has it."""

import asyncio
import contextlib
import random
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.audit.entries import Accepted, Finished, encode
from gateway.audit.record import new_id
from gateway.people.directory import Directory, person_id
from gateway.people.errors import MeasureRefused
from gateway.people.ledger import Ledger
from gateway.people.rebuild import UNDERWAY_LOOKS, Rebuilder
from gateway.people.standing import Kept, Standing
from gateway.people.watch import Watch
from policies.strikes import UNTIL_LIFTED, Rule
from tests.gateway.people.conftest import World

ANN, BOB = person_id("t", "ann"), person_id("t", "bob")


class Lossy(Ledger):
    """A ledger whose commands of some kinds, or whose answers, are *lost* now and then."""

    def __init__(self, redis: "Redis", draw: random.Random, lost: frozenset[str]) -> None:
        super().__init__(redis, Rule(same_ms=20, same_most_ms=60))
        self.draw = draw
        self.lost = lost

    async def _run(self, what: str, *given: Any, **named: Any) -> Any:
        chance = self.draw.random() if what in self.lost else 0.5
        if chance < 0.2:
            raise RedisConnectionError("the command is lost")
        found = await super()._run(what, *given, **named)
        if chance > 0.8:
            raise RedisConnectionError("the answer is lost")
        return found


async def turn(world: World, kept: Kept, draw: random.Random, person: str, *, killed: float) -> None:
    """Say something, as a worker has it; *killed* is how often it ends before it could say so."""
    violation, at, turn_id = draw.random() < 0.7, time.time_ns() // 1_000_000, new_id()
    counts, words = ("violation" if violation else "clean"), draw.choice("abcdefgh")
    begin = Accepted(at=at, id=turn_id, route="chat", key="k", person=person, counts=counts, utterance=words)
    world.writer.append(encode(begin))
    await asyncio.sleep(draw.random() / 500)
    strike = await kept.count(Standing(person, counted=True), words, turn_id, violation=violation)
    await asyncio.sleep(draw.random() / 500)
    end = Finished(at=time.time_ns() // 1_000_000, id=turn_id, outcome="ok", strike=strike)
    if draw.random() >= killed or not violation:
        world.writer.append(encode(end))


async def measured(people: Any, draw: random.Random, person: str) -> None:
    """Do something about a person."""
    match draw.choice(["suspend", "lift", "lift", "uphold"]):
        case "suspend":
            until = draw.choice([UNTIL_LIFTED, time.time_ns() // 1_000_000 + 5])
            await people.suspend(person, until, "r", "eve")
        case "lift":
            with contextlib.suppress(MeasureRefused):  # there is nothing to lift
                await people.lift(person, "r", "eve")
        case _:
            await people.uphold(person, "r", "eve", new_id())


MEASURES = frozenset({"suspend", "lift", "uphold"})


@pytest.mark.parametrize("lost", [MEASURES, MEASURES | {"count", "look"}], ids=["measures", "all"])
@pytest.mark.parametrize("seed", range(4))
async def test_any_story_ends_as_its_replay(world: World, seed: int, redis: "Redis", lost: frozenset[str]) -> None:
    """Turns and measures at once, while the rebuild is at work; when all is settled nothing changes any more."""
    draw = random.Random(seed)  # noqa: S311 - a story, no secret
    lossy = Lossy(redis, draw, lost)
    rebuilder = Rebuilder(lossy, world.root)
    kept = Kept(lossy, Watch(lossy), Directory())
    people = world.over(lossy).measures
    for name in ("ann", "bob"):
        await people.look_up("t", name)

    async def speaks(person: str) -> None:
        for _ in range(25):
            await turn(world, kept, draw, person, killed=0.1 if "count" in lost else 0.0)

    async def decides(person: str) -> None:
        for _ in range(8):
            await asyncio.sleep(draw.random() / 50)
            await measured(people, draw, person)

    async def rebuilds() -> None:
        while not over.is_set():
            with contextlib.suppress(RedisConnectionError):
                await rebuilder.step()
            await asyncio.sleep(0.01)

    over = asyncio.Event()
    beside = asyncio.create_task(rebuilds())
    await asyncio.gather(*(work(person) for work in (speaks, decides) for person in (ANN, BOB, ANN)))
    over.set()
    await beside
    lossy.lost = frozenset()
    for _ in range(UNDERWAY_LOOKS + 3):
        await rebuilder.step()
    found = {person: (await lossy.look(person)).state for person in (ANN, BOB)}
    await redis.flushall()
    again = Rebuilder(lossy, world.root)
    await again.step()
    assert found == {person: (await lossy.look(person)).state for person in (ANN, BOB)}
