"""From records to rows."""

from gateway.audit import rows
from gateway.audit.entries import Admin, Decision, Found, Segment
from gateway.audit.sinks import Heard
from tests.gateway.audit.indexing import begin, end, kept, refusal


def test_what_no_database_takes_is_replaced() -> None:
    """NUL, numbers beyond 64 bits, names that fit into no index."""
    record = begin("a", user="\0" + "u" * 5000, words=kept("坏\0话"), model="m\0")
    row = rows.began(Heard("w", 1, record), record)
    assert (row["words_text"], row["model"], len(row["user"])) == ("坏\ufffd话", "m\ufffd", rows.LONGEST_USER)
    changed = rows.changed(end("a", prompt_tokens=10**30, completion_tokens=-(10**30), status=10**9))
    assert (changed["prompt_tokens"], changed["completion_tokens"]) == (rows.LARGEST, -rows.LARGEST)
    assert changed["status"] == 999


def test_an_end_says_only_what_it_knows() -> None:
    """The verdict and the words of the begin stay where the end has none."""
    assert not {"action", "words_text", "strike_event"} & rows.changed(end("a")).keys()
    late = rows.changed(end("a", verdict=refusal(7), words=kept("坏话")))
    assert (late["action"], late["risk"], late["words_text"]) == ("refuse", "A1a", "坏话")


def test_terms_are_texts_and_entries() -> None:
    """Evidence of stages that know no entries, and what is no number, is none."""
    observed = (Found("keywords.context", "9"), Found("keywords.in", "flood"), Found("judge", "5"))
    row = rows.changed(end("a", observed=observed, answer=kept("好的"), verdict=refusal(7)))
    assert rows.terms(row) == {"好的", "entry:7", "entry:9"}


def test_a_verdict_that_lets_pass_is_none() -> None:
    """Such turns stand in no index of verdicts."""
    record = begin("a", verdict=Decision("pass", None, (Found("keywords.in", "3"),)))
    row = rows.began(Heard("w", 1, record), record)
    assert (row["action"], rows.terms(row)) == (None, {"entry:3"})


def test_events_are_of_admins_and_of_standings() -> None:
    """Nothing else is one."""
    assert rows.event(Heard("w", 1, Segment(at=1, writer="w"))) is None
    assert rows.event(Heard("w", 1, begin("a"))) is None
    row = rows.event(Heard("w", 2, Admin(at=1, admin="a", action="x", target="t\0", details={"n": 1})))
    assert row is not None
    assert (row["kind"], row["by"], row["target"], row["details"]) == ("admin", "a", "t\ufffd", {"n": 1})
