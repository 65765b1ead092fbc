"""What of a log counts, read on as it grows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.entries import Accepted, Finished, Person, Record, Strike, encode
from gateway.audit.writer import Writer, open_writer
from gateway.people.recorded import Events
from gateway.people.replay import UNDERWAY_LOOKS
from gateway.people.standing import PENDING
from policies.strikes import GOOD


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = open_writer(tmp_path / "audit", "w")
    yield found
    found.close()


@pytest.fixture
def events(writer: Writer, tmp_path: Path) -> Events:
    del writer
    return Events(tmp_path / "audit")


def begin(turn: str, counts: str = "violation", person: str = "p") -> Accepted:
    return Accepted(at=5, id=turn, route="chat", key="k", person=person, counts=counts, utterance=turn)


def end(turn: str, event: str = "strike", seq: int = 1) -> Finished:
    return Finished(at=9, id=turn, outcome="refused", strike=Strike(7, seq, event, GOOD, GOOD))


def write(writer: Writer, *entries: Record) -> None:
    for entry in entries:
        writer.append(encode(entry))


def seen(events: Events, person: str = "p") -> list[tuple[str, int, int, bool]]:
    events.look()
    return [(event.kind, event.at, event.seq, event.settled) for event in events.people.get(person, [])]


def test_a_violation_counts_from_its_begin(writer: Writer, events: Events) -> None:
    """It is underway until its end tells the moment and the number of the change."""
    write(writer, begin("a"))
    assert [("violation", 5, 0, False)] == seen(events)
    assert ({"p"}, set()) == (events.underway(), events.unsettled())
    write(writer, end("a", seq=3))
    assert [("violation", 7, 3, True)] == seen(events)
    assert (set(), set(), 3) == (events.underway(), events.unsettled(), events.newest)


def test_a_clean_utterance_counts_from_its_end(writer: Writer, events: Events) -> None:
    """One that never ended, and is of long ago, is not awaited."""
    write(writer, begin("a", "clean"), begin("b", "clean", "q"))
    assert [] == seen(events)
    assert set() == events.underway()
    write(writer, begin("c", "clean"), end("c", "clean"))
    assert [("clean", 7, 1, True)] == seen(events)


def test_a_turn_that_was_killed_counts_by_its_begin(writer: Writer, events: Events) -> None:
    """After some looks without an end."""
    write(writer, begin("a"))
    for _ in range(UNDERWAY_LOOKS + 2):
        events.look()
    assert (set(), {"p"}) == (events.underway(), events.unsettled())


def test_what_could_not_be_counted_is_unsettled_until_it_is(writer: Writer, events: Events) -> None:
    write(writer, begin("a"), end("a", PENDING, 0))
    assert [("violation", 7, 0, False)] == seen(events)
    assert {"p"} == events.unsettled()
    events.settle("p")
    assert set() == events.unsettled()


def test_a_measure_that_is_on_record_twice_is_one(writer: Writer, events: Events) -> None:
    """Before it is done and again when it is done; or after a kill."""
    lift = Person(at=5, person="p", kind="lift", id="m1", strike=Strike(5, 0, PENDING, GOOD, GOOD))
    write(writer, lift, lift)
    assert [("lift", 5, 0, False)] == seen(events)


def test_what_stands_behind_a_damaged_record_counts(writer: Writer, events: Events) -> None:
    """One byte that was changed frees nobody."""
    for turn in ("1", "2", "3"):
        write(writer, begin(turn), end(turn))
    [file] = writer.slot.directory.glob("*.seg")
    data = bytearray(file.read_bytes())
    data[data.index(b'"t":"segment"') + 6] ^= 1
    file.write_bytes(bytes(data))
    assert 3 == len(seen(events))
