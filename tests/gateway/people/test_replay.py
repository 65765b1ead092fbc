"""Which events are replayed, and what a replay would miss."""

from gateway.people.ledger import ENTRIES, Account, Entry, Stamped
from gateway.people.replay import Event, merged, replayed, unexplained
from policies.strikes import DAY_MS, Rule

NOON = 1_764_000_000_000
NOTHING = Account(Stamped(), 0, {})


def said(turn: str, at: int, seq: int = 0, kind: str = "violation") -> Event:
    return Event("p", kind, at, seq, turn, id=turn)


def still(turn: str, at: int) -> Event:
    return Event("p", "violation", at, 0, turn, id=turn, ended=False)


def account(last: int, rebuilt: int = 0, **entries: Entry) -> Account:
    return Account(Stamped(seq=last), rebuilt, entries)


def test_each_event_is_taken_once() -> None:
    """From the log that has its number; of a turn without an end elsewhere, and of nobody's, from the state server."""
    kept = account(
        9, a=Entry("violation", 3, 0, "a", 1), b=Entry("violation", 4, 0, "b", 2), c=Entry("clean", 5, 0, "c", 3)
    )
    found = merged("p", [said("a", 10, 1)], [still("b", 11), still("d", 12)], kept)
    assert sorted((one.id, one.at, one.seq) for one in found) == [("a", 10, 1), ("b", 4, 2), ("c", 5, 3), ("d", 12, 0)]


def test_the_log_says_when_it_counts_what_could_not_be_counted() -> None:
    """Its end is on record as pending; but an appeal that another gateway did carry out was done then."""
    kept = account(9, a=Entry("violation", 3, 0, "a", 1))
    assert [one.at for one in merged("p", [said("a", 10)], [], kept)] == [10]
    assert [one.at for one in merged("p", [said("a", 10)], [said("a", 5, 2)], NOTHING)] == [5]


def test_records_of_old_have_no_name() -> None:
    """Each is one of its own."""
    lifts = [Event("p", "lift", at, at) for at in (1, 2)]
    assert merged("p", lifts, [], NOTHING) == lifts


def test_a_change_that_nobody_knows_is_noticed() -> None:
    """The last one; one in between; but not what a rebuild has put there, nor what was before it."""
    log = [said("a", NOON, 1)]
    assert unexplained(log, account(1)) == set()
    assert unexplained(log, account(2)) == {2}
    assert unexplained(log, account(3, c=Entry("violation", NOON, 0, "c", 3, 2))) == {2}
    assert unexplained(log, account(3, c=Entry("violation", NOON, 0, "c", 3, 1))) == set()
    assert unexplained([], account(2, rebuilt=2)) == set()
    assert (
        unexplained([], account(4, rebuilt=3, a=Entry("lift", 1, 0, "", 2, 1), b=Entry("lift", 1, 0, "", 4, 3)))
        == set()
    )


def test_what_changed_the_standing_is_to_be_remembered() -> None:
    """Not what is remembered already, nor a repeat; of more than there is room for, the newest."""
    events = [said("a", NOON), said("b", NOON + DAY_MS), Event("p", "violation", NOON + 1, 0, "a", id="c")]
    found = replayed(events, Rule())
    assert found.entries(account(1, a=Entry("violation", NOON, 0, "a", 1))) == {
        "b": Entry("violation", NOON + DAY_MS, 0, "b")
    }
    full = {str(number): Entry("lift", 1) for number in range(ENTRIES - 1)}
    assert set(found.entries(account(1, **full))) == {"b"}
    assert found.entries(account(1, x=Entry("lift", 1), **full)) == {}
