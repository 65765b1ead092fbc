"""Rows of the index, in a real database."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Accepted, Admin, Decision, Found, Judged, Segment, Strike, Torn
from gateway.audit.search import EventFilter, Filter, Search
from gateway.audit.tables import audit_turns
from policies.strikes import State
from tests.gateway.audit.indexing import NOW, Talk, begin, end, index, kept, refusal


async def rows(engine: AsyncEngine) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(audit_turns).order_by(audit_turns.c.number))).all())


def full() -> Accepted:
    return begin(
        "full",
        tenant="t",
        address="1.2.3.4",
        model="m",
        replica="m#0",
        stream=True,
        library="3",
        policy="pol",
        digest="d",
        words=kept("你好"),
        verdict=Decision("judge", "A1a", (Found("keywords.in", "7", 0, 2),)),
        counts="violation",
    )


async def test_a_row_has_all_that_is_on_record(engine: AsyncEngine) -> None:
    """Of both records."""
    strike = Strike(NOW, 5, "struck", State(row=1), State(row=2))
    last = end(
        "full",
        NOW + 5,
        outcome="cut",
        status=200,
        finish_reason="content_filter",
        prompt_tokens=3,
        completion_tokens=4,
        first_token_ms=1.5,
        total_ms=2.5,
        observed=(Found("keywords.out", "8", 1, 2),),
        strike=strike,
        answer=kept("坏"),
    )
    await index(engine, Segment(at=NOW, writer="n-w0"), full(), last, Torn(at=NOW, bytes=1, sha256="a"))
    [row] = await rows(engine)
    assert (row.id, row.accepted_at, row.finished_at, row.route, row.key) == ("full", NOW, NOW + 5, "chat", "k1")
    assert (row.tenant, row.person, row.user, row.address) == ("t", "p", "u", "1.2.3.4")
    assert (row.model, row.replica, row.stream, row.library, row.policy, row.digest) == (
        *("m", "m#0", True, "3", "pol", "d"),
    )
    assert (row.action, row.risk, row.counts, row.outcome) == ("judge", "A1a", "violation", "cut")
    assert row.evidence == [{"stage": "keywords.in", "what": "7", "start": 0, "end": 2}]
    assert row.observed == [{"stage": "keywords.out", "what": "8", "start": 1, "end": 2}]
    assert (row.status, row.finish_reason, row.prompt_tokens, row.completion_tokens) == (200, "content_filter", 3, 4)
    assert (row.first_token_ms, row.total_ms, row.strike_event, row.strike_at) == (1.5, 2.5, "struck", NOW)
    assert row.strike == {"at": NOW, "seq": 5, "event": "struck", "before": {"row": 1}, "after": {"row": 2}}
    assert (row.words_text, row.words_chars, row.answer_text, row.answer_chars) == ("你好", 2, "坏", 1)


async def test_ends_that_come_later_find_their_turn(engine: AsyncEngine) -> None:
    """In another transaction, with words that only the end kept, and a judge between."""
    await index(engine, full(), begin("b"), begin("c"))
    await index(engine, Judged(at=NOW, id="b", verdict=refusal(9, "A2a"), person="p", counts="violation"))
    await index(engine, end("full"), end("b", outcome="refused", words=kept("坏话")), end("c"))
    found = {row.id: row for row in await rows(engine)}
    assert [found[name].outcome for name in ("full", "b", "c")] == ["ok", "refused", "ok"]
    assert (found["b"].action, found["b"].risk, found["b"].words_text) == ("refuse", "A2a", "坏话")
    assert (found["full"].action, found["full"].words_text) == ("judge", "你好")
    search = Search(engine)
    assert [row.id for row in (await search.page(Filter(text="坏话"), 10)).turns] == ["b"]
    assert [row.id for row in (await search.page(Filter(entry=9), 10)).turns] == ["b"]


async def test_a_turn_that_was_killed_has_no_end(engine: AsyncEngine) -> None:
    """And shows as such."""
    await index(engine, begin("a"), begin("b"), end("b"))
    [row] = (await Search(engine).page(Filter(outcome="unfinished"), 10)).turns
    assert (row.id, row.finished_at, row.outcome) == ("a", None, None)


async def test_an_end_whose_begin_is_gone_has_a_row(engine: AsyncEngine) -> None:
    """Retention may have dropped the begin."""
    await index(engine, end("a", outcome="cut"))
    [row] = await rows(engine)
    assert (row.id, row.accepted_at, row.outcome, row.key) == ("a", NOW, "cut", None)


async def test_odd_values_hold_up_nothing(engine: AsyncEngine) -> None:
    """What a client or an engine sends is stored in some form, whatever it is."""
    odd = begin(
        "a\0b", user="\0" * 3000, person="🙂" * 100, words=kept("\0" * 3 + "\ufffe🙂'\"%_\\"), model="m" * 10_000
    )
    last = end("a\0b", outcome="ok", prompt_tokens=10**40, finish_reason="\0" * 9, total_ms=1e300)
    old = begin("old", at=-5), begin("far", at=10**17), begin("future", at=NOW + 10**11)
    admin = Admin(at=10**18, admin="\0", action="x", details={"a\0": "\0"})
    await index(engine, odd, last, *old, admin)
    assert len(await rows(engine)) == 4
    [event] = await Search(engine).events(EventFilter(), 10)
    assert event.details == {"a\0": "\0"}


async def test_many_at_once(engine: AsyncEngine) -> None:
    """More turns than one query takes; each has a number of its own."""
    names = [f"t{i}" for i in range(1200)]
    await index(engine, *(begin(name) for name in names))
    await index(engine, *(end(name) for name in names))
    found = await rows(engine)
    assert len({row.number for row in found}) == 1200
    assert {row.outcome for row in found} == {"ok"}


async def test_events_are_rows_too(engine: AsyncEngine) -> None:
    """What an admin did, and what changed a standing."""
    talk = Talk()
    await index(
        engine, *talk.say(bad=True), Admin(at=NOW, admin="a", action="keys.create", target="k2"), *talk.uphold()
    )
    events = await Search(engine).events(EventFilter(), 10)
    assert [(e.kind, e.by, e.action, e.target) for e in events] == [
        ("applied", "", "uphold", "p"),
        ("person", "admin", "uphold", "p"),
        ("admin", "a", "keys.create", "k2"),
    ]
    assert events[0].details["strike"]["before"]["row"] == 1
