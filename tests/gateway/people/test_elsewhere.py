"""Two gateways on one state server and one PostgreSQL: standings are a replay of both logs, whoever rebuilds them."""

import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Accepted, Applied, Finished, Person, Strike, encode
from gateway.audit.record import new_id
from gateway.audit.writer import Writer, open_writer
from gateway.people.elsewhere import Counted, Elsewhere, others_of
from gateway.people.ledger import EPOCH, Ledger
from gateway.people.rebuild import Rebuilder
from gateway.people.standing import PENDING
from gateway.settings import Settings
from gateway.state import sql
from policies.strikes import Rule
from tests.following import follow

PERSON = "ab" * 12


def now() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass
class Gateway:
    """One of the two: its log, and what rebuilds standings from it."""

    root: Path
    writer: Writer
    ledger: Ledger
    engine: AsyncEngine

    def __post_init__(self) -> None:
        self.rebuilder = Rebuilder(self.ledger, self.root, Elsewhere(self.engine, self.root))

    async def say(self, words: str, *, violation: bool = True, counted: bool = True) -> None:
        """Say something, as a turn does; not *counted*: the state server was away."""
        at, turn, counts = now(), new_id(), "violation" if violation else "clean"
        begun = Accepted(at=at, id=turn, route="c", key="k", person=PERSON, counts=counts, utterance=words)
        self.writer.append(encode(begun))
        strike = Strike(at, 0, PENDING)
        if counted:
            change = await self.ledger.count(PERSON, words, violation=violation, name=turn)
            strike = Strike(change.at, change.seq, change.event, change.before.state, change.after.state)
        self.writer.append(encode(Finished(at=at, id=turn, outcome="refused", strike=strike)))

    async def index(self) -> None:
        """Bring what is in the log into the database."""
        await follow(self.engine, self.root, Counted())


@pytest.fixture
async def both(redis: "Redis", database: Settings, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    async with sql.opened(database) as engine:
        ledger = Ledger(redis, Rule())
        await ledger.open("e")
        roots = [tmp_path / name / "audit" for name in "ab"]
        found = [Gateway(root, open_writer(root, "w"), ledger, engine) for root in roots]
        yield found[0], found[1]
        for one in found:
            one.writer.close()


async def test_one_rebuilds_what_both_know(both: tuple[Gateway, Gateway], redis: "Redis") -> None:
    """After a loss of everything; the other one finds nothing to do."""
    first, second = both
    await first.say("a")
    await second.say("b")
    before = (await first.ledger.look(PERSON)).state
    assert before.row == 2
    for one in both:
        await one.index()
    await redis.flushall()
    assert await first.rebuilder.step() == 1
    assert await second.rebuilder.step() == 1
    assert (await first.ledger.look(PERSON)).state == before


async def test_what_the_database_did_not_have_yet_is_added_by_whose_it_is(
    both: tuple[Gateway, Gateway], redis: "Redis"
) -> None:
    first, second = both
    await first.say("a")
    await second.say("b")
    await first.index()
    before = (await first.ledger.look(PERSON)).state
    await redis.flushall()
    await first.rebuilder.step()
    assert (await first.ledger.look(PERSON)).state.row == 1
    await second.rebuilder.step()
    assert (await first.ledger.look(PERSON)).state == before


async def test_a_strike_is_added_to_what_the_other_one_counted(both: tuple[Gateway, Gateway]) -> None:
    """Though that is not in the database yet, and at every place in the row; its arrival changes nothing."""
    first, second = both
    for one in both:
        await one.rebuilder.step()
    await second.say("b")
    await first.say("a", counted=False)
    assert await first.rebuilder.step() == 1
    assert (await first.ledger.look(PERSON)).state.row == 2
    await second.say("c")
    before = (await first.ledger.look(PERSON)).state
    assert before.suspended(now())
    for one in both:
        await one.index()
        await Gateway(one.root, one.writer, one.ledger, one.engine).rebuilder.step()
        assert (await first.ledger.look(PERSON)).state == before


@pytest.mark.parametrize("last", [0, 1, 2])
async def test_a_log_that_is_behind_frees_nobody(both: tuple[Gateway, Gateway], last: int) -> None:
    """A gateway that begins anew has one strike less in its log and the database than the state server counted."""
    for number in range(3):
        await both[1 if number == last else 0].say(f"w{number}")
    first, second = both
    before = (await first.ledger.look(PERSON)).state
    assert before.suspended(now())
    again = Gateway(first.root, first.writer, first.ledger, first.engine)
    assert [await again.rebuilder.step() for _ in range(12)] == [1, *[0] * 11]
    assert (await first.ledger.look(PERSON)).state == before
    assert await again.rebuilder.compare() == (1, 0)
    await second.index()
    sequence = await first.ledger.sequence()
    for one in both:
        assert await one.rebuilder.compare() == (1, 0)
    assert await first.ledger.sequence() == sequence


async def test_a_measure_of_a_gateway_that_is_behind_holds(both: tuple[Gateway, Gateway]) -> None:
    """A lift there is not undone by a replay of the strikes here."""
    first, second = both
    for words in "abc":
        await first.say(words)
    record = Person(at=now(), id="m1", person=PERSON, kind="lift", strike=Strike(now()))
    second.writer.append(encode(record))
    await second.ledger.lift(PERSON, name="m1")
    await first.rebuilder.step()
    assert not (await first.ledger.look(PERSON)).state.suspended(now())


async def test_what_is_in_no_log_and_not_remembered_stays(both: tuple[Gateway, Gateway]) -> None:
    """An older gateway counted it: what this log alone has is counted on top of it, once, until the log is there."""
    first, _ = both
    await first.rebuilder.step()
    await first.ledger.count(PERSON, "b", violation=True)
    await first.say("a", counted=False)
    assert [await first.rebuilder.step() for _ in range(3)] == [0, 0, 0]
    assert (await first.ledger.look(PERSON)).state.row == 2
    again = Gateway(first.root, first.writer, first.ledger, first.engine)
    assert [await again.rebuilder.step() for _ in range(3)] == [0, 0, 0]
    assert (await first.ledger.look(PERSON)).state.row == 2


async def test_who_comes_late_after_a_loss_adds_what_is_theirs(both: tuple[Gateway, Gateway], redis: "Redis") -> None:
    """Also where what the one that rebuilt had last was not in the database when the other one came."""
    first, second = both
    for one in both:
        await one.rebuilder.step()
    await second.say("b")
    await first.say("a")
    before = (await first.ledger.look(PERSON)).state
    await redis.flushall()
    await first.rebuilder.step()
    await first.say("c")
    assert (await first.ledger.look(PERSON)).state.row == 2
    assert await second.rebuilder.step() == 1
    found = (await first.ledger.look(PERSON)).state
    assert (before.row, found.suspended(now())) == (2, True)
    for one in both:
        await one.index()
        assert await one.rebuilder.compare() == (1, 0)
    assert (await first.ledger.look(PERSON)).state == found


async def test_a_state_that_went_back_loses_nothing_of_who_is_behind(
    both: tuple[Gateway, Gateway], redis: "Redis"
) -> None:
    """One notices. The other's control process hung meanwhile, and finds a number above the one that it knew."""
    first, second = both
    for one in both:
        await one.rebuilder.step()
    await second.say("b")
    await first.say("a")
    for one in both:
        await one.rebuilder.step()
    await redis.flushall()
    await first.ledger.open("e")
    assert await first.rebuilder.step() == 1
    assert (await first.ledger.look(PERSON)).state.row == 1
    for person in "xyz":
        await first.ledger.count(person, "a", violation=True)
    assert await second.rebuilder.step() == 1
    assert (await first.ledger.look(PERSON)).state.row == 2
    assert [await one.rebuilder.step() for one in (*both, *both)] == [0, 0, 0, 0]


async def test_one_of_both_rebuilds(both: tuple[Gateway, Gateway], redis: "Redis") -> None:
    """The other one leaves it alone meanwhile."""
    first, second = both
    await first.say("a")
    await redis.flushall()
    assert await first.ledger.claim(60)
    assert await second.rebuilder.step() == 0
    assert not await first.ledger.complete()


async def test_an_appeal_that_two_decide_is_upheld_once(both: tuple[Gateway, Gateway], redis: "Redis") -> None:
    """One was killed before it could store the decision, and the other one has it in its own log, too."""
    first, _ = both
    for words in "abc":
        await first.say(words)
    at = time.time_ns() // 1_000_000
    for one in both:
        record = Person(at=at, id="apl_1", person=PERSON, kind="uphold", strike=Strike(at))
        change = await one.ledger.uphold(PERSON, "apl_1")
        end = Applied(at=at, id="apl_1", person=PERSON, strike=Strike(change.at, change.seq, "uphold"))
        one.writer.append(encode(record), encode(end))
        await one.index()
        await first.say("d")
    await first.index()
    before = (await first.ledger.look(PERSON)).state
    await redis.flushall()
    for one in both:
        assert await one.rebuilder.step() == 1
        assert (await one.ledger.look(PERSON)).state == before


async def uphold(one: Gateway, appeal: str) -> None:
    """Uphold an appeal, as the admin API does."""
    at = now()
    one.writer.append(encode(Person(at=at, id=appeal, person=PERSON, kind="uphold", strike=Strike(at))))
    change = await one.ledger.uphold(PERSON, appeal)
    strike = Strike(change.at, change.seq, "uphold", change.before.state, change.after.state)
    one.writer.append(encode(Applied(at=at, id=appeal, person=PERSON, strike=strike)))


@pytest.mark.parametrize("turn", [1, -1])
async def test_what_both_were_asked_for_is_of_one_moment(
    both: tuple[Gateway, Gateway], redis: "Redis", turn: int
) -> None:
    """An appeal that was upheld at one, lost, and upheld at the other: both know it by the first time, once they can."""
    first, second = both
    for words in "abc":
        await first.say(words)
    await uphold(first, "apl_1")
    await redis.flushall()
    await second.rebuilder.step()
    for words in "def":
        await second.say(words)
    await uphold(second, "apl_1")
    for one in both[::turn]:
        await one.index()
    for one in both[::turn]:
        await one.rebuilder.step()
        await one.rebuilder.compare()
    state, sequence = (await first.ledger.look(PERSON)).state, await first.ledger.sequence()
    assert state.suspended(now())
    for one in both * 2:
        await one.rebuilder.step()
        assert await one.rebuilder.compare() == (1, 0)
    assert (state, sequence) == ((await first.ledger.look(PERSON)).state, await first.ledger.sequence())


async def test_records_are_kept_once(both: tuple[Gateway, Gateway]) -> None:
    first, second = both
    await first.say("a")
    await first.index()
    await first.index()
    assert await Elsewhere(second.engine, second.root).people() == {PERSON}
    assert len(await Elsewhere(second.engine, second.root).events(PERSON)) == 1
    assert await Elsewhere(first.engine, first.root).people() == set()
    assert (others_of(first.engine, first.root) is None) is (first.engine.dialect.name == "sqlite")


async def snapshot(redis: "Redis") -> dict[bytes, bytes]:
    return {key: dump for key in await redis.keys() if (dump := await redis.dump(key)) is not None}


async def go_back(redis: "Redis", copy: dict[bytes, bytes]) -> None:
    await redis.flushall()
    for key, dump in copy.items():
        await redis.restore(key, 0, dump)


WAYS = ["counted"] * 6 + ["pending", "clean", "index", "step", "begin", "copy", "lost", "back"]
RULE = Rule(consecutive=6, daily=10**6, suspensions_ms=(2, 5), same_ms=0, same_most_ms=0)
"""Suspensions so short that the story goes on."""


async def happens(one: Gateway, what: str, words: str, copy: dict[bytes, bytes]) -> None:
    """Do something at one of the gateways, or to the state server."""
    match what:
        case "counted" | "clean" | "pending":
            counted = what != "pending" and await one.ledger.complete()
            await one.say(words, violation=what != "clean", counted=counted)
        case "index":
            await one.index()
        case "step":
            await one.rebuilder.step()
        case "begin":
            one.__post_init__()
        case "lost":
            await one.ledger.redis.flushall()
        case "back":
            await go_back(one.ledger.redis, copy)


@pytest.mark.parametrize("seed", range(8))
async def test_both_logs_are_the_truth_in_the_end(
    both: tuple[Gateway, Gateway], redis: "Redis", seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was counted where, however far each index was behind, who began anew, what was lost and went back."""
    monkeypatch.setattr("gateway.people.rebuild.LOOK_SECONDS", 0)
    both[0].ledger.rule = RULE
    draw, copy = random.Random(seed), await snapshot(redis)  # noqa: S311 - a story, no secret
    for number in range(80):
        what = draw.choice(WAYS)
        await happens(draw.choice(both), what, f"w{number}", copy)
        if what == "copy" and await both[0].ledger.complete():
            copy = await snapshot(redis)
        if not await redis.exists(EPOCH):
            await redis.delete("gw:{standings}:rebuilding")  # whoever looks next rebuilds
    for one in both * 3:
        await one.rebuilder.step()
        await one.index()
    for one in both:
        assert await one.rebuilder.compare() == (1, 0)
    found = (await both[0].ledger.look(PERSON)).state
    await redis.flushall()
    both[0].__post_init__()
    await both[0].rebuilder.step()
    assert (await both[0].ledger.look(PERSON)).state == found
    assert found.today > 20
