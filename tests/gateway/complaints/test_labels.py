"""Labels, as a classifier's makers read them."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints import labels
from gateway.complaints.decisions import Decisions
from gateway.complaints.labels import Labels
from tests.gateway.complaints.cases import complaint, enter, find_nothing


async def nobody(person: str, reason: str, by: str, appeal: str) -> None:
    del person, reason, by, appeal


async def test_labels_are_read_in_order(queues: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, in parts, and by what they say; of a turn that nobody finds the content id is all."""
    monkeypatch.setattr(labels, "PART", 2)
    await enter(queues, *(complaint(n) for n in range(5)))
    decisions = Decisions(queues, nobody, find_nothing)
    for n in range(5):
        await decisions.answer(f"cmp_{n}", "好", "ann", founded=n == 3, risk="A1a")
    kept = Labels(queues)
    page = await kept.page(2, 0)
    assert ["cmp_0", "cmp_1"] == [one["source_id"] for one in page]
    assert ["cmp_2"] == [one["source_id"] for one in await kept.page(1, page[-1]["number"])]
    assert [("cmp_3", "A1a", "")] == [
        (one["source_id"], one["risk"], one["sha256"]) for one in await kept.page(9, 0, "harmful")
    ]
    assert [2, 2, 1] == [len(part) async for part in kept.every()]
