"""The script in a real state server, against the rule it has to be."""

import asyncio
import random
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.people.ledger import ENTRIES, EPOCH, Changed, Entry, Incomplete, Ledger
from policies.strikes import DAY_MS, GOOD, REPEATED, STRUCK, UNTIL_LIFTED, Record, Rule, Seen, State

NOON = 1_764_000_000_000


@pytest.fixture
async def ledger(redis: "Redis") -> Ledger:
    """An empty ledger that is complete."""
    found = Ledger(redis, Rule())
    await found.open("e1")
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_the_script_is_the_rule(ledger: Ledger, seed: int) -> None:
    """Any story of utterances, lifts, appeals and suspensions ends the same, step by step."""
    draw = random.Random(seed)  # noqa: S311 - a story, no secret
    record, now = Record(ledger.rule), NOON + draw.randrange(DAY_MS)
    for step in range(60):
        now += draw.choice([0, 1, 500, 5_000, 9_999, 10_000, 30_000, 3_600_000, DAY_MS, -5_000, 31 * DAY_MS])
        what = draw.random()
        if what < 0.85:
            words, bad = draw.choice("abc"), draw.random() < 0.6
            event = record.count(words, now, violation=bad)
            change = await ledger.count("p", words, violation=bad, at=now)
            assert change.event == event
        elif what < 0.95:
            upheld = draw.random() < 0.5
            (record.uphold if upheld else record.lift)(now)
            change = await (ledger.uphold("p", f"{step}", at=now) if upheld else ledger.lift("p", at=now))
        else:
            record.suspend(now, now + 1_000)
            change = await ledger.suspend("p", now + 1_000, at=now)
        assert change.after.state == record.state


async def test_people_of_note_are_listed(ledger: Ledger) -> None:
    """Whoever has a row or is suspended is listed, and leaves the list with that."""
    await ledger.count("p", "a", violation=True)
    await ledger.count("q", "a", violation=False)
    assert set(await ledger.notable()) == {"p"}
    await ledger.count("p", "b", violation=False)
    assert await ledger.notable() == {}
    assert await ledger.sequence() == 2


async def test_nothing_is_counted_before_the_standings_are_there(redis: "Redis", ledger: Ledger) -> None:
    """A state server that has lost everything says so, in place of giving everybody a clean sheet."""
    await redis.delete(EPOCH)
    with pytest.raises(Incomplete):
        await ledger.count("p", "a", violation=True)
    with pytest.raises(Incomplete):
        await ledger.look("p")
    await ledger.set("p", State(row=2, today=2, at=5))
    await ledger.open("e2")
    assert (await ledger.look("p")).state.row == 2


async def test_a_standing_is_set_only_where_it_is_the_one_that_was_read(ledger: Ledger) -> None:
    """Whoever was quicker wins."""
    first = await ledger.count("p", "a", violation=True)
    await ledger.count("p", "b", violation=True)
    with pytest.raises(Changed):
        await ledger.set("p", GOOD, first.seq)


async def test_standings_of_many_are_one_question(ledger: Ledger, redis: "Redis") -> None:
    """All of them, also of those who are of no note."""
    await ledger.count("p", "a", violation=True)
    await ledger.lift("p")
    await ledger.count("q", "a", violation=True)
    found = await ledger.among(["q", "p", "nobody"])
    assert found == {name: await ledger.look(name) for name in ("q", "p", "nobody")}
    assert found["p"].seq == 2
    await redis.delete(EPOCH)
    with pytest.raises(Incomplete):
        await ledger.among(["p"])


async def test_those_of_note_among_many(ledger: Ledger, redis: "Redis") -> None:
    """One command; whoever is in good standing is not there."""
    await ledger.count("p", "a", violation=True)
    await ledger.suspend("q", UNTIL_LIFTED)
    assert await ledger.noted(["q", "p", "nobody"]) == {name: await ledger.look(name) for name in ("q", "p")}
    await redis.delete(EPOCH)
    with pytest.raises(Incomplete):
        await ledger.noted(["p"])


SAY = """
import asyncio, sys
from redis.asyncio import Redis
from gateway.people.ledger import Ledger
from policies.strikes import Rule

async def run(socket, number, words):
    client = Redis.from_url(f"unix://{socket}")
    ledger = Ledger(client, Rule(consecutive=10**6, daily=10**6, same_ms=60_000))
    for i in range(words):
        calls = [ledger.count(f"p{i % 10}", f"{number}-{i}", violation=True) for _ in range(2 if i % 10 == 0 else 1)]
        await asyncio.gather(*calls)
    await client.aclose()

asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
"""Says so many violations, one in ten of them twice at once."""


async def test_an_appeal_is_upheld_once(ledger: Ledger) -> None:
    """Again it does nothing, whatever came since, and tells what was done then; also after it was set."""
    for words in "abc":
        await ledger.count("p", words, violation=True)
    first = await ledger.uphold("p", "apl_1")
    assert first.after.state.level == 0
    await ledger.count("p", "d", violation=True)
    now = await ledger.look("p")
    assert await ledger.uphold("p", "apl_1", seq=0) == first
    assert await ledger.look("p") == now
    await ledger.redis.flushall()
    await ledger.open("e2")
    await ledger.set("p", now.state, upheld={"apl_1": first})
    assert await ledger.uphold("p", "apl_1") == first
    assert (await ledger.look("p")).state == now.state


async def test_utterances_are_set_with_the_standing(ledger: Ledger) -> None:
    """What was said a moment ago is not new; another person's words are."""
    change = await ledger.count("p", "a", violation=True)
    await ledger.redis.flushall()
    await ledger.open("e2")
    await ledger.set("p", change.after.state, seen={"a": Seen(change.at, change.at, violation=True)})
    assert (await ledger.count("p", "a", violation=True)).event == REPEATED
    assert (await ledger.count("q", "a", violation=True)).event == STRUCK
    assert (await ledger.look("p")).state.row == 1


async def test_what_has_a_name_is_counted_once(ledger: Ledger) -> None:
    """Whoever asks again, long after the words are known, learns when it was, and which change."""
    first = await ledger.count("p", "a", violation=True, name="t1")
    later = first.at + DAY_MS
    again = await ledger.count("p", "a", violation=True, at=later, name="t1")
    assert (again.seq, again.at, again.event) == (first.seq, first.at, REPEATED)
    await ledger.suspend("p", later + DAY_MS, later, name="m1")
    lifted = await ledger.lift("p", later, name="m2")
    again = await ledger.suspend("p", later + DAY_MS, later, lifted.seq, name="m1")
    assert (again.seq, again.after) == (first.seq + 1, lifted.after)
    assert await ledger.look("p") == lifted.after


async def test_what_was_counted_is_remembered(ledger: Ledger) -> None:
    """With all that a replay needs, and which change was before each; what changed nothing is not."""
    at = NOON
    await ledger.count("p", "a", violation=True, at=at, name="t1")
    await ledger.count("p", "a", violation=True, at=at, name="t2")  # repeated
    await ledger.count("q", "a", violation=True, at=at, name="t3")
    await ledger.count("p", "c|d", violation=False, at=at + 1, name="t4")
    await ledger.suspend("p", UNTIL_LIFTED, at + 2, name="m1")
    await ledger.lift("p", at + 3)
    await ledger.uphold("p", "apl_1", at + 4)
    account = await ledger.account("p")
    assert account.standing == await ledger.look("p")
    assert account.rebuilt == 0
    assert account.entries == {
        "t1": Entry("violation", at, 0, "a", 1, 0),
        "t4": Entry("clean", at + 1, 0, "c|d", 3, 1),
        "m1": Entry("suspend", at + 2, UNTIL_LIFTED, "", 4, 3),
        "apl_1": Entry("uphold", at + 4, 0, "", 6, 5),
    }


async def test_a_rebuild_adds_what_was_not_remembered(ledger: Ledger) -> None:
    """What is remembered already stays as it was counted."""
    change = await ledger.count("p", "a", violation=True, name="t1")
    given = {"t0": Entry("clean", 5, 0, "b"), "t1": Entry("violation", 6, 0, "a")}
    done = await ledger.set("p", GOOD, change.seq, entries=given)
    account = await ledger.account("p")
    assert account.rebuilt == done.seq
    assert account.entries == {
        "t0": Entry("clean", 5, 0, "b"),
        "t1": Entry("violation", change.at, 0, "a", change.seq, 0),
    }


async def test_of_too_much_the_newest_is_remembered(redis: "Redis") -> None:
    ledger = Ledger(redis, Rule(consecutive=10**6, daily=10**6))
    await ledger.open("e")
    for number in range(ENTRIES + 1):
        await ledger.count("p", f"{number}", violation=True, name=f"t{number}")
    left = sorted(one.seq for one in (await ledger.account("p")).entries.values())
    assert left == list(range(ENTRIES // 4 + 1, ENTRIES + 2))


async def test_numbers_go_on_behind_those_of_a_log(ledger: Ledger) -> None:
    await ledger.count("p", "a", violation=True)
    await ledger.beyond(7)
    assert (await ledger.count("p", "b", violation=True)).seq == 8
    await ledger.beyond(7)
    assert await ledger.sequence() == 8


async def test_many_processes_count_exactly(valkey: Path, redis: "Redis") -> None:
    """8 processes, 10 000 calls in all, one in ten of them a repeat: not one is lost, not one is double."""
    ledger = Ledger(redis, Rule(consecutive=10**6, daily=10**6, same_ms=60_000))
    await ledger.open("e")
    workers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", SAY, str(valkey), str(number), "1136")
        for number in range(8)
    ]
    assert await asyncio.gather(*(worker.wait() for worker in workers)) == [0] * 8
    rows = [(await ledger.look(f"p{i}")).state.row for i in range(10)]
    assert sum(rows) == 8 * 1_136
    assert await ledger.sequence() == 8 * 1_136
