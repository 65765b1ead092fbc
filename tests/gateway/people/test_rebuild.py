"""Standings from the log, on a real chain and a real state server."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.audit.entries import Accepted, Finished, Person, Strike, Struck, decode, encode
from gateway.audit.heads import signer
from gateway.audit.retention import drop
from gateway.audit.segments import read
from gateway.audit.sinks import Heard
from gateway.audit.writer import Writer, open_writer
from gateway.cli import main
from gateway.people.journal import Journal
from gateway.people.ledger import EPOCH, Account, Ledger
from gateway.people.rebuild import UNDERWAY_LOOKS, Rebuilder
from gateway.people.standing import PENDING
from gateway.webhooks.events import Message, message
from gateway.webhooks.rules import Event as WebhookEvent
from policies.strikes import GOOD, SUSPENDING, Rule


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


@pytest.fixture
def shell(valkey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[int]]:
    """Runs `gateway strikes rebuild`."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWAY_REDIS_URL", f"unix://{valkey}")
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return lambda: asyncio.to_thread(main, ["strikes", "rebuild"])  # the command has a loop of its own


async def say(writer: Writer, ledger: Ledger, turn: str, words: str, *, violation: bool = True) -> None:
    """Put an utterance on record and count it, as a turn does."""
    counts = "violation" if violation else "clean"
    at = time.time_ns() // 1_000_000
    begin = Accepted(at=at, id=turn, route="chat", key="k", person="p", counts=counts, utterance=words)
    writer.append(encode(begin))
    change = await ledger.count("p", words, violation=violation, name=turn)
    strike = Strike(change.at, change.seq, change.event, change.before.state, change.after.state)
    struck = Struck("p") if change.event in SUSPENDING else None
    writer.append(encode(Finished(at=at, id=turn, outcome="refused", strike=strike, struck=struck)))


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


async def test_one_utterance_around_a_loss_is_one_strike(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """The same words again within ten seconds are known to the state server that was filled anew; others are not."""
    ledger = rebuilder.ledger
    await say(writer, ledger, "1", "a")
    await redis.flushall()
    assert await rebuilder.step() == 1
    await say(writer, ledger, "2", "a")
    await say(writer, ledger, "3", "a")
    assert (await ledger.look("p")).state.row == 1
    await redis.flushall()
    assert await Rebuilder(ledger, rebuilder.events.root).step() == 1
    await say(writer, ledger, "4", "b")
    assert (await ledger.look("p")).state.row == 2


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


async def test_a_suspension_that_only_the_log_has_is_told(
    writer: Writer, rebuilder: Rebuilder, redis: "Redis", tmp_path: Path
) -> None:
    """Since when and why; under one id, however often a replay finds it, and that of the turn where one tells it."""
    ledger, root = rebuilder.ledger, tmp_path / "audit"
    rebuilder = Rebuilder(ledger, root, journal=Journal(writer))
    for turn in ("1", "2", "3"):
        pending(writer, turn)
    await rebuilder.step()
    found = (await ledger.look("p")).state
    await redis.flushall()
    await Rebuilder(ledger, root, journal=Journal(writer)).step()
    told = messages(writer)
    assert [(one.event, one.at, one.until, one.reason) for one in told] == [
        (WebhookEvent.SUSPENDED, found.last // 1_000, found.until // 1_000, "violations in a row")
    ] * 2
    assert len({one.id for one in told}) == 1


async def test_a_suspension_that_a_turn_told_is_not_told_again(
    writer: Writer, rebuilder: Rebuilder, redis: "Redis", tmp_path: Path
) -> None:
    """After a loss of everything the replay finds it, and says the same."""
    for turn in ("1", "2", "3"):
        await say(writer, rebuilder.ledger, turn, turn)
    await redis.flushall()
    await Rebuilder(rebuilder.ledger, tmp_path / "audit", journal=Journal(writer)).step()
    told = messages(writer)
    assert (len(told), len({one.id for one in told})) == (2, 1)


def messages(writer: Writer) -> list[Message]:
    """Return what receivers are told of the log."""
    heard = [Heard(writer.slot.name, row.cursor.seq, decode(row.body)) for row in read(writer.slot.directory)]
    return [found for one in heard if (found := message(one)) is not None]


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


async def test_by_hand(writer: Writer, rebuilder: Rebuilder, shell: Callable[[], Awaitable[int]]) -> None:
    """`gateway strikes rebuild` does the same."""
    await say(writer, rebuilder.ledger, "1", "a")
    await rebuilder.ledger.lift("p")  # not on record
    assert await shell() == 0
    assert (await rebuilder.ledger.look("p")).state.row == 1


async def test_by_hand_without_a_log(
    rebuilder: Rebuilder, shell: Callable[[], Awaitable[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is missing and changes nothing, also where the shell alone has a log."""
    await rebuilder.ledger.count("p", "a", violation=True)
    assert await shell() == 78
    assert f"no audit log of a gateway in {tmp_path / 'audit'}" in capsys.readouterr().err
    assert not (tmp_path / "audit").exists()
    open_writer(tmp_path / "audit", "cli").close()
    assert await shell() == 78
    assert (await rebuilder.ledger.look("p")).state.row == 1


async def test_by_hand_with_a_log_that_knows_nobody(
    writer: Writer, rebuilder: Rebuilder, shell: Callable[[], Awaitable[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has a standing that it says nothing of is counted, keeps it, and is no success; beside others they are."""
    await rebuilder.ledger.count("q", "a", violation=True)
    assert await shell() == 1
    assert "1 people have violations in a row or are suspended, and the log says nothing" in capsys.readouterr().err
    await say(writer, rebuilder.ledger, "1", "a")
    assert await shell() == 0
    assert "1 people have" in capsys.readouterr().err
    assert (await rebuilder.ledger.look("q")).state.row == 1


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
    account = ledger.account

    async def looked(person: str) -> Account:
        found = await account(person)
        await say(writer, ledger, "2", "clean", violation=False)  # after its number was read
        monkeypatch.setattr(ledger, "account", account)
        return found

    monkeypatch.setattr(ledger, "account", looked)
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


async def test_by_hand_beside_a_gateway_that_counts(
    writer: Writer, rebuilder: Rebuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted while the log is being replayed is not undone; who is in line already is not touched."""
    ledger = rebuilder.ledger
    monkeypatch.setattr("gateway.people.rebuild.LOOK_SECONDS", 0)
    await say(writer, ledger, "0", "x")
    await ledger.lift("p")  # not on record
    account, seqs = ledger.account, []

    async def looked(person: str) -> Account:
        found = await account(person)
        seqs.append(found.standing.seq)
        if len(seqs) == 1:
            await say(writer, ledger, "1", "y")  # after its number was read
        return found

    monkeypatch.setattr(ledger, "account", looked)
    assert await rebuilder.compare() == (1, 0)
    assert len(seqs) == 2
    assert (await ledger.look("p")).state.row == 2
    sequence = await ledger.sequence()
    assert await rebuilder.compare() == (1, 0)
    assert await ledger.sequence() == sequence


async def test_by_hand_whoever_speaks_all_the_time_is_left_alone(
    writer: Writer, rebuilder: Rebuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a clean turn that runs it is not known what becomes; of one from hours ago it is: nothing."""
    monkeypatch.setattr("gateway.people.rebuild.LOOK_SECONDS", 0)
    await say(writer, rebuilder.ledger, "0", "x")
    await rebuilder.ledger.lift("p")  # not on record
    now = time.time_ns() // 1_000_000
    old = Accepted(at=now - 3 * 3_600_000, id="1", route="chat", key="k", person="p", counts="clean", utterance="a")
    writer.append(encode(old))
    assert await rebuilder.compare() == (1, 0)
    await rebuilder.ledger.lift("p")
    writer.append(encode(Accepted(at=now, id="2", route="chat", key="k", person="p", counts="clean", utterance="b")))
    assert await rebuilder.compare() == (0, 1)


async def test_by_hand_where_all_is_lost(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """Everything is put back, and counting goes on."""
    await say(writer, rebuilder.ledger, "0", "x")
    await redis.flushall()
    assert await rebuilder.compare() == (1, 0)
    assert await rebuilder.ledger.complete()


async def test_what_stands_in_sql_changes_no_standing(writer: Writer, rebuilder: Rebuilder) -> None:
    """A ban on record is none of the replay's business."""
    await say(writer, rebuilder.ledger, "0", "x")
    at = time.time_ns() // 1_000_000
    writer.append(encode(Person(at=at, person="p", kind="ban", strike=Strike(at), id="1")))
    assert await rebuilder.compare() == (1, 0)
    assert (await rebuilder.ledger.look("p")).state.row == 1


async def test_a_log_whose_begin_was_dropped_is_read_on(
    writer: Writer, rebuilder: Rebuilder, tmp_path: Path, redis: "Redis"
) -> None:
    """After the retention time the rest of the log still gives standings."""
    root = tmp_path / "audit"
    await say(writer, rebuilder.ledger, "0", "x")
    writer._until = 0.0  # a new day begins
    await say(writer, rebuilder.ledger, "1", "y")
    signing = signer(root, "secret")
    assert signing is not None
    assert drop(writer.slot.directory, time.time() + 1, signing) is not None
    await redis.flushall()
    assert await Rebuilder(rebuilder.ledger, root).step() == 1
    assert (await rebuilder.ledger.look("p")).state.row == 1


async def test_an_older_copy_of_the_state_is_noticed(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """A state server that comes back with what it had minutes ago has its epoch, and a lower number."""
    ledger = rebuilder.ledger
    for turn in ("1", "2"):
        await say(writer, ledger, turn, turn)
    before = (await ledger.look("p")).state
    await rebuilder.step()
    await redis.flushall()
    await ledger.open("e")
    assert await rebuilder.step() == 1
    assert (await ledger.look("p")).state == before


async def test_what_stands_behind_a_damaged_record_counts(writer: Writer, rebuilder: Rebuilder, redis: "Redis") -> None:
    """One byte that was changed frees nobody."""
    for turn in ("1", "2", "3"):
        await say(writer, rebuilder.ledger, turn, turn)
    [file] = writer.slot.directory.glob("*.seg")
    data = bytearray(file.read_bytes())
    data[data.index(b'"t":"segment"') + 6] ^= 1
    file.write_bytes(bytes(data))
    await redis.flushall()
    await rebuilder.step()
    assert (await rebuilder.ledger.look("p")).state.until > 0
