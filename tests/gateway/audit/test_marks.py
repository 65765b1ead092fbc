"""Which turns an upheld appeal marks."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import AnyRecord
from gateway.audit.tables import audit_turns
from policies.strikes import DAY_MS
from tests.gateway.audit.indexing import Talk, index


async def marked(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        query = select(audit_turns.c.id).where(audit_turns.c.mark == "upheld").order_by(audit_turns.c.accepted_at)
        return list((await connection.execute(query)).scalars())


def said(talk: Talk, words: str, **how: bool) -> list[AnyRecord]:
    """Return the records of turns: ``x`` is a violation, ``.`` is clean."""
    return [record for letter in words for record in talk.say(bad=letter == "x", **how)]


async def test_the_three_in_a_row(engine: AsyncEngine) -> None:
    """Not those before the clean utterance that began the row anew, nor another person's."""
    talk, other = Talk("p"), Talk("q")
    await index(engine, *said(other, "xx"), *said(talk, "x.xxx"), *talk.uphold())
    assert await marked(engine) == ["p3", "p4", "p5"]


async def test_the_five_of_a_day(engine: AsyncEngine) -> None:
    """With clean ones between, which are not marked."""
    talk = Talk()
    await index(engine, *said(talk, "xx.xx.x"), *talk.uphold())
    assert await marked(engine) == ["p1", "p2", "p4", "p5", "p7"]


async def test_only_the_last_suspension(engine: AsyncEngine) -> None:
    """What was said while suspended, and what had made up an earlier suspension, stays."""
    talk = Talk()
    first = said(talk, "xxx")
    talk.wait(2 * DAY_MS)
    second = said(talk, "xxxx")
    await index(engine, *first, *second, *talk.uphold())
    assert await marked(engine) == ["p4", "p5", "p6"]


async def test_a_lift_begins_anew(engine: AsyncEngine) -> None:
    """Two appeals mark each its own turns, and a lift none."""
    talk = Talk()
    await index(engine, *said(talk, "xxx"), *talk.uphold("lift"))
    assert await marked(engine) == []
    await index(engine, *said(talk, "xxx"), *talk.uphold())
    assert await marked(engine) == ["p4", "p5", "p6"]


async def test_a_suspension_by_hand_has_no_turns(engine: AsyncEngine) -> None:
    """An admin's own decision is taken back, not the strikes before it."""
    talk = Talk()
    records = said(talk, "x")
    talk.record.suspend(talk.at, -1)
    await index(engine, *records, *talk.uphold())
    assert await marked(engine) == []


async def test_the_order_in_which_writers_are_read_does_not_matter(engine: AsyncEngine) -> None:
    """The appeal may be heard of first, and an end after its begin."""
    talk = Talk()
    turns, appeal = said(talk, "xxx"), talk.uphold()
    await index(engine, *appeal, writer="n-control0")
    await index(engine, *turns[:3])
    await index(engine, *turns[3:5], writer="m-w0")
    await index(engine, turns[5], writer="m-w0")
    assert await marked(engine) == ["p1", "p2", "p3"]


async def test_violations_that_were_counted_from_the_log(engine: AsyncEngine) -> None:
    """With the state server away no turn tells of its row; then it is all since the last clean one."""
    talk = Talk()
    records = [*said(talk, "x."), *said(talk, "xx", pending=True), *said(talk, "x", killed=True)]
    await index(engine, *records, *talk.uphold())
    assert await marked(engine) == ["p3", "p4", "p5"]


async def test_a_day_that_was_counted_from_the_log(engine: AsyncEngine) -> None:
    """As many as the standing had on that day."""
    talk = Talk()
    await index(engine, *said(talk, "xx.xx.", pending=True), *said(talk, "x", pending=True), *talk.uphold())
    assert len(await marked(engine)) == 5
