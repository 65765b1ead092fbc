"""The queues, the oldest due first."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints import store
from gateway.complaints.decisions import Decisions
from gateway.complaints.store import Cases, Filter, UnknownCase
from tests.gateway.complaints.cases import appeal, complaint, enter, find_nothing


async def nothing(person: str, reason: str, by: str, appeal: str) -> None:
    del person, reason, by, appeal


async def test_the_oldest_due_come_first(queues: AsyncEngine) -> None:
    """Page by page, none twice, also where several are due at once."""
    await enter(queues, *(appeal(n, due=due * 1000) for n, due in ((1, 30), (2, 10), (3, 20), (4, 10), (5, 10))))
    cases, seen, after = Cases(queues, "appeals"), [], None
    while page := await cases.page(2, after, Filter(), 0):
        seen += [one["id"] for one in page]
        after = seen[-1]
    assert ["apl_2", "apl_4", "apl_5", "apl_3", "apl_1"] == seen
    with pytest.raises(UnknownCase):
        await cases.page(2, "apl_9", Filter(), 0)


async def test_they_are_filtered(queues: AsyncEngine) -> None:
    """By status, by what is overdue, by kind and by person."""
    await enter(queues, complaint(1), complaint(2, kind="minors", person="p2"), complaint(300))
    cases = Cases(queues, "complaints")
    await Decisions(queues, nothing, find_nothing, clock=lambda: 200.0).answer("cmp_1", "好", "ann", founded=False)

    async def found(**wanted: str | bool) -> list[str]:
        return [one["id"] for one in await cases.page(9, None, Filter(**wanted), 200)]  # type: ignore[arg-type]

    assert ["cmp_2", "cmp_300"] == await found(status="open")
    assert (["cmp_2"], ["cmp_1", "cmp_300"]) == (await found(overdue=True), await found(overdue=False))
    assert (["cmp_2"], ["cmp_2"]) == (await found(kind="minors"), await found(person="p2"))
    assert (2, 1) == await cases.counts(200)
    assert [False, True, False] == [one["overdue"] for one in await cases.page(9, None, Filter(), 200)]


async def test_all_are_read_in_parts(queues: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(store, "PART", 2)
    await enter(queues, *(complaint(n) for n in range(5)))
    parts = [part async for part in Cases(queues, "complaints").every(Filter(), 0)]
    assert [2, 2, 1] == [len(part) for part in parts]
    assert ["cmp_4"] == [one["id"] for one in parts[2]]


async def test_what_was_told_is_told_once(queues: AsyncEngine) -> None:
    """Unless it changes, or the state server has lost it."""
    await enter(queues, appeal(1))
    cases, decisions = Cases(queues, "appeals"), Decisions(queues, nothing, find_nothing, clock=lambda: 200.0)
    [old] = await cases.unpublished()
    await decisions.reject("apl_1", "查过", "ann")
    await cases.told(old)  # it was told what was so before
    [new] = await cases.unpublished()
    assert (new.status, new.answer, new.decided_at) == ("rejected", "查过", 200)
    await cases.told(new)
    assert [] == await cases.unpublished()
    await cases.tell_again(300)
    assert [new] == await cases.unpublished()
    await cases.told(new)
    await cases.tell_again(200 + 31 * 86_400)
    assert [] == await cases.unpublished()


async def test_old_decisions_are_forgotten(queues: AsyncEngine) -> None:
    """What is open stays, however old."""
    await enter(queues, appeal(1), appeal(2))
    cases = Cases(queues, "appeals")
    await Decisions(queues, nothing, find_nothing, clock=lambda: 200.0).reject("apl_1", "查过", "ann")
    assert (0, 1) == (await cases.forget(200), await cases.forget(201))
    assert ["apl_2"] == [one["id"] for one in await cases.page(9, None, Filter(), 0)]
