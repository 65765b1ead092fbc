"""From turns to records, on a real chain."""

from collections.abc import Callable

from gateway.audit.entries import Accepted, Finished, Judged, Strike, Struck, decode
from gateway.audit.log import Log
from gateway.audit.record import VIOLATION, Outcome, Turn
from gateway.audit.segments import read
from gateway.audit.texts import Texts
from gateway.audit.writer import Writer
from gateway.keys import Caller
from gateway.people.standing import Standing
from policies.strikes import STRUCK, SUSPENDED_DAY
from policies.utterance import Utterance
from policies.verdict import CLEAN, Action, Evidence, Verdict

BAD = Verdict(Action.REFUSE, "A1a", (Evidence("keywords.in", "7", 1, 3),))


def turn() -> Turn:
    caller = Caller(key_id="k1", name="n", tenant="t")
    return Turn(caller, "chat", 1.5, user="u", standing=Standing("p"), utterance=Utterance("你好"))


async def test_a_turn_has_two_records(opened: Callable[..., Writer]) -> None:
    """What was said, by whom, and how it ended; of clean words the digest alone."""
    writer = opened()
    log = Log(writer, Texts("violations"), lambda: "3", "pol")
    one = turn()
    await log.accepted(one)
    one.answer, one.prompt_tokens = "好", 5
    await log.finished(one)
    _, begin, end = [decode(row.body) for row in read(writer.slot.directory)]
    assert isinstance(begin, Accepted)
    assert isinstance(end, Finished)
    assert (begin.id, begin.person, begin.user, begin.library, begin.policy) == (one.id, "p", "u", "3", "pol")
    assert begin.words is not None
    assert (begin.words.text, begin.words.chars, begin.verdict, begin.at) == (None, 2, None, 1500)
    assert (end.id, end.outcome, end.prompt_tokens, end.verdict) == (one.id, "ok", 5, None)


async def test_violations_keep_their_words(opened: Callable[..., Writer]) -> None:
    """Refused words stand in the first record; words of an answer that was cut in the last; evidence in both."""
    writer = opened()
    log = Log(writer, Texts("violations"), lambda: "3")
    refused, cut = turn(), turn()
    refused.verdict, refused.counts = BAD, VIOLATION
    words = log.beginning(refused).words
    assert words is not None
    assert words.text == "你好"
    assert log.beginning(refused).utterance == refused.utterance.id
    await log.accepted(cut)
    cut.verdict, cut.outcome, cut.answer = BAD, Outcome.CUT, "坏"
    end = log.end(cut)
    assert end.words is not None
    assert end.answer is not None
    assert end.verdict is not None
    assert (end.words.text, end.answer.text, end.verdict.evidence[0].what) == ("你好", "坏", "7")


async def test_a_late_refusal_is_on_record_before_it_counts(opened: Callable[..., Writer]) -> None:
    """The judge's verdict has a record of its own."""
    writer = opened()
    log = Log(writer, Texts("violations"), lambda: "3")
    one = turn()
    await log.accepted(one)
    one.verdict, one.counts = BAD, VIOLATION
    await log.judged(one)
    found = decode(list(read(writer.slot.directory))[-1].body)
    assert isinstance(found, Judged)
    assert (found.person, found.counts, found.utterance) == ("p", VIOLATION, one.utterance.id)
    assert one.recorded != CLEAN


async def test_who_is_suspended_stands_in_the_record(opened: Callable[..., Writer]) -> None:
    """So that the event can be told without the begin of the turn; other strikes do without."""
    log, one = Log(opened(), Texts("violations"), lambda: "3"), turn()
    one.strike = Strike(at=1, event=SUSPENDED_DAY)
    assert log.end(one).struck == Struck("p", "t", "u")
    one.strike = Strike(at=1, event=STRUCK)
    assert log.end(one).struck is None
