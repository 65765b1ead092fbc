"""What of the log is told, and in which words."""

import json
from typing import Any

import pytest

from gateway.audit.entries import AnyRecord, Finished, Person, Strike, Struck
from gateway.audit.sinks import Heard
from gateway.webhooks.events import message
from policies.strikes import RESET, SUSPENDED_DAY, SUSPENDED_ROW, UNTIL_LIFTED, State


def body(record: AnyRecord, seq: int = 3) -> Any:
    found = message(Heard("n-w0", seq, record))
    return None if found is None else json.loads(found.body())


def finished(event: str, until: int = 90_000_000) -> Finished:
    strike = Strike(at=5_000, seq=9, event=event, after=State(until=until))
    return Finished(at=6_000, id="c" * 24, outcome="refused", strike=strike, struck=Struck("p1", "acme", "u1"))


def person(kind: str, **fields: Any) -> Person:
    return Person(at=7_000, person="p1", kind=kind, strike=Strike(at=7_000), **fields)


@pytest.mark.parametrize(
    ("event", "reason"), [(SUSPENDED_ROW, "violations in a row"), (SUSPENDED_DAY, "violations on one day")]
)
def test_a_suspension_by_strikes(event: str, reason: str) -> None:
    """Who, since when, until when, why, and the turn that did it."""
    told = body(finished(event))
    assert told.pop("id").startswith("evt_")
    assert told == {
        "type": "person.suspended",
        "at": 5,
        "until": 90_000,
        "person": "p1",
        "tenant": "acme",
        "user": "u1",
        "reason": reason,
        "content_id": "c" * 24,
    }


def test_a_suspension_without_an_end() -> None:
    """Says so."""
    assert body(finished(SUSPENDED_ROW, UNTIL_LIFTED))["until"] is None


@pytest.mark.parametrize(
    ("kind", "event"),
    [("suspend", "suspended"), ("lift", "lifted"), ("uphold", "upheld"), ("ban", "banned"), ("unban", "unbanned")],
)
def test_what_admins_do(kind: str, event: str) -> None:
    """With who and why; an end only where there can be one."""
    told = body(person(kind, by="ann", reason="误判"))
    assert (f"person.{event}", 7, "p1", "ann", "误判") == tuple(
        told[k] for k in ("type", "at", "person", "by", "reason")
    )
    assert ("until" in told) == (kind in {"suspend", "ban"})


@pytest.mark.parametrize("record", [finished(RESET), person("exempt"), Finished(at=1, id="a", outcome="ok")])
def test_nothing_else_is_told(record: AnyRecord) -> None:
    """A strike that suspends nobody is nobody else's business."""
    assert body(record) is None


def test_an_event_has_one_id() -> None:
    """The same whenever its record is read, and another than that of the next record."""
    ids = [body(person("lift"), seq)["id"] for seq in (3, 3, 4)]
    assert (True, False) == (ids[0] == ids[1], ids[0] == ids[2])


def test_what_is_on_record_twice_is_told_once() -> None:
    """A measure that was asked for again after a kill has the id of the first time."""
    assert body(person("uphold", id="apl_1"), 3)["id"] == body(person("uphold", id="apl_1"), 9)["id"]
    assert body(person("uphold", id="apl_1"))["id"] != body(person("uphold", id="apl_2"))["id"]
