"""Standings from the log, on a real chain and a real state server."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.audit.entries import Accepted, Finished, Person, Strike, encode
from gateway.audit.writer import Writer, open_writer
from gateway.cli import main
from gateway.people.ledger import EPOCH, Ledger, Stamped
from gateway.people.rebuild import UNDERWAY_LOOKS, Rebuilder
from gateway.people.standing import PENDING
from policies.strikes import GOOD, Rule


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = open_writer(tmp_path / "audit", "w")
    yield found
    found.close()


@pytest.fixture
async def rebuilder(redis: "Redis", tmp_path: Path) -> Rebuilder:
    found = Rebuilder(Ledger(redis, Rule()), tmp_path / "audit")
    await found.ledger.open("e")
    return found


async def say(writer: Writer, ledger: Ledger, turn: str, words: str, *, violation: bool = True) -> None:
    """Put an utterance on record and count it, as a turn does."""
    counts = "violation" if violation else "clean"
    at = time.time_ns() // 1_000_000
    begin = Accepted(at=at, id=turn, route="chat", key="k", person="p", counts=counts, utterance=words)
    writer.append(encode(begin))
    change = await ledger.count("p", words, violation=violation)
    strike = Strike(change.at, change.seq, change.event, change.before.state, change.after.state)
    writer.append(encode(Finished(at=at, id=turn, outcome="refused", strike=strike)))


async def test_a_lost_state_comes_back(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """After a loss of everything the standings are what they were, and only then is counted again."""
    ledger = rebuilder.ledger
    await say(writer, ledger, "1", "a")
    await say(writer, ledger, "2", "b", violation=False)
    await say(writer, ledger, "3", "c")
    await say(writer, ledger, "4", "d")
    before = (await ledger.look("p")).state
    assert (before.row, before.today) == (2, 3)
    await redis.flushall()
    assert await rebuilder.step() == 1
    assert (await ledger.look("p")).state == before
    assert await rebuilder.step() == 0


async def test_what_could_not_be_counted_is_made_up_for(writer: Writer, rebuilder: Rebuilder) -> None:
    """Violations during an outage count in their place: before a clean utterance that came after it."""
    ledger = rebuilder.ledger
    for turn in ("1", "2"):
        at = time.time_ns() // 1_000_000
        begin = Accepted(at=at, id=turn, route="chat", key="k", person="p", counts="violation", utterance=turn)
        end = Finished(at=at, id=turn, outcome="refused", strike=Strike(at, 0, PENDING))
        writer.append(encode(begin), encode(end))
    assert (await ledger.look("p")).state == GOOD
    assert await rebuilder.step() == 1
    assert (await ledger.look("p")).state.row == 2
    await say(writer, ledger, "3", "x")
    assert await rebuilder.step() == 0
    assert (await ledger.look("p")).state.until > 0


async def test_a_turn_that_was_killed_counts_once(writer: Writer, rebuilder: Rebuilder) -> None:
    """Its beginning is on record: it counts, whether or not it was counted before the kill."""
    ledger = rebuilder.ledger
    begin = Accepted(
        at=time.time_ns() // 1_000_000, id="1", route="chat", key="k", person="p", counts="violation", utterance="a"
    )
    writer.append(encode(begin))
    await ledger.count("p", "a", violation=True)
    for _ in range(UNDERWAY_LOOKS + 2):
        await rebuilder.step()
    assert (await ledger.look("p")).state.row == 1


async def test_what_an_admin_did_is_replayed(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """A lift stands in the log, too."""
    ledger = rebuilder.ledger
    for turn in "123":
        await say(writer, ledger, turn, turn)
    change = await ledger.lift("p")
    writer.append(encode(Person(at=change.at, person="p", kind="lift", strike=Strike(change.at, change.seq, "lift"))))
    await redis.delete(EPOCH)
    await rebuilder.step()
    assert not (await ledger.look("p")).state.suspended(time.time_ns() // 1_000_000)


async def test_by_hand(
    writer: Writer, rebuilder: Rebuilder, valkey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gateway strikes rebuild` does the same."""
    await say(writer, rebuilder.ledger, "1", "a")
    await rebuilder.ledger.lift("p")  # not on record
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWAY_REDIS_URL", f"unix://{valkey}")
    import asyncio  # noqa: PLC0415 - the command has a loop of its own

    assert await asyncio.to_thread(main, ["strikes", "rebuild"]) == 0
    assert (await rebuilder.ledger.look("p")).state.row == 1


def pending(writer: Writer, turn: str) -> None:
    """Put a violation on record that could not be counted."""
    at = time.time_ns() // 1_000_000
    begin = Accepted(at=at, id=turn, route="chat", key="k", person="p", counts="violation", utterance=turn)
    writer.append(encode(begin), encode(Finished(at=at, id=turn, outcome="refused", strike=Strike(at, 0, PENDING))))


async def test_what_is_counted_meanwhile_is_not_undone(
    writer: Writer, rebuilder: Rebuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean utterance that is counted while a standing is being rebuilt ends the row, whenever it comes."""
    ledger = rebuilder.ledger
    await say(writer, ledger, "0", "x")
    pending(writer, "1")
    look = ledger.look

    async def looked(person: str) -> Stamped:
        found = await look(person)
        await say(writer, ledger, "2", "clean", violation=False)  # after its number was read
        monkeypatch.setattr(ledger, "look", look)
        return found

    monkeypatch.setattr(ledger, "look", looked)
    assert await rebuilder.step() == 0
    assert await rebuilder.step() == 1
    found = (await ledger.look("p")).state
    assert (found.row, found.today) == (0, 2)


async def test_whoever_is_speaking_is_waited_for(writer: Writer, rebuilder: Rebuilder) -> None:
    """A clean utterance was counted, and its end is not on record yet: the replay would not know of it."""
    ledger = rebuilder.ledger
    pending(writer, "1")
    at = time.time_ns() // 1_000_000
    writer.append(encode(Accepted(at=at, id="2", route="chat", key="k", person="p", counts="clean", utterance="c")))
    assert await rebuilder.step() == 0
    change = await ledger.count("p", "c", violation=False)
    writer.append(encode(Finished(at=at, id="2", outcome="ok", strike=Strike(change.at, change.seq, change.event))))
    assert await rebuilder.step() == 1
