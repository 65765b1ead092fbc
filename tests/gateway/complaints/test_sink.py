"""From records to the queue of staff."""

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Found, Segment
from gateway.audit.sinks import Heard
from gateway.complaints.sink import CaseSink
from gateway.complaints.store import Cases, Filter
from tests.gateway.complaints.cases import CONTENT, appeal, complaint, enter


async def test_records_become_rows(queues: AsyncEngine) -> None:
    """Each in its queue, with all that it says; other records are passed over."""
    other = Heard("n-w0", 1, Segment(at=1, writer="n-w0"))
    found = (Found("keywords.context", "7", 1, 3),)
    heard = [other, Heard("n-w0", 2, appeal(5, found=found)), Heard("n-w0", 3, complaint(6, contact="138"))]
    async with queues.begin() as connection:
        await CaseSink().take(connection, heard)
    [one] = await Cases(queues, "appeals").page(9, None, Filter(), 0)
    assert (one["id"], one["user"], one["content_id"], one["status"]) == ("apl_5", "u1", CONTENT, "open")
    assert (one["received_at"], one["due_at"], one["found"]) == (5, 105, [["keywords.context", "7", 1, 3]])
    [two] = await Cases(queues, "complaints").page(9, None, Filter(), 0)
    assert (two["id"], two["kind"], two["contact"], two["person"]) == ("cmp_6", "illegal", "138", "")


async def test_a_record_that_comes_again_changes_nothing(queues: AsyncEngine) -> None:
    """As when the index is made anew."""
    await enter(queues, appeal(1), complaint(2))
    await enter(queues, appeal(1, text="x"), complaint(2), complaint(3))
    assert ["不是我"] == [one["text"] for one in await Cases(queues, "appeals").page(9, None, Filter(), 0)]
    assert 2 == len(await Cases(queues, "complaints").page(9, None, Filter(), 0))


async def test_what_a_database_cannot_hold_does_not_stop_it(queues: AsyncEngine) -> None:
    """A zero in a text is one in JSON, and none in PostgreSQL."""
    await enter(queues, appeal(1, text="a\0b", user="\0", content_id="\0"), complaint(2, contact="\0"))
    [one] = await Cases(queues, "appeals").page(9, None, Filter(), 0)
    assert (one["text"], one["user"], one["content_id"]) == ("a\ufffdb", "\ufffd", "\ufffd")
