"""Each case is decided once, whoever else is at it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints import decisions as module
from gateway.complaints.decisions import CLAIM_SECONDS, Decisions
from gateway.complaints.labels import Labels, Turn
from gateway.complaints.store import Cases, Decided, UnknownCase
from gateway.problems import Problem
from tests.gateway.complaints.cases import CONTENT, appeal, complaint, enter


class Desk:
    """Decisions on a clock of their own, and whose standing they restore."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.now = 1_000.0
        self.restored: list[tuple[str, str, str, str]] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.told = 0
        self.decisions = Decisions(engine, self.uphold, self.find, self.tell, lambda: self.now)

    async def uphold(self, person: str, reason: str, by: str, appeal: str) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.restored.append((person, reason, by, appeal))

    async def find(self, content_id: str) -> Turn:
        assert content_id == CONTENT
        return Turn(({"writer": "n-w0", "seq": 3},), "a" * 64, "b" * 64)

    def tell(self) -> None:
        self.told += 1

    async def labels(self) -> list[dict[str, Any]]:
        return await Labels(self.engine).page(99, 0)


@pytest.fixture
def desk(queues: AsyncEngine) -> Desk:
    return Desk(queues)


async def test_an_upheld_appeal_restores_the_standing(desk: Desk) -> None:
    """Once; the words are labelled harmless."""
    await enter(desk.engine, appeal(1))
    row = await desk.decisions.uphold("apl_1", "误判", "ann")
    assert (row["status"], row["reason"], row["decided_by"], row["decided_at"]) == ("upheld", "误判", "ann", 1_000)
    assert ([("p1", "误判", "ann", "apl_1")], 1) == (desk.restored, desk.told)
    [label] = await desk.labels()
    assert (label["label"], label["part"], label["sha256"]) == ("harmless", "words", "a" * 64)
    assert (label["source"], label["source_id"], label["content_id"]) == ("appeal", "apl_1", CONTENT)
    for again in (desk.decisions.uphold("apl_1", "x", "bob"), desk.decisions.reject("apl_1", "x", "bob")):
        with pytest.raises(Decided, match="ann"):
            await again
    assert 1 == len(desk.restored) == len(await desk.labels())


async def test_an_appeal_stays_open_where_nothing_was_restored(desk: Desk) -> None:
    """What failed can be tried again at once."""
    await enter(desk.engine, appeal(1))
    desk.failure = RuntimeError("the state is away")
    with pytest.raises(RuntimeError):
        await desk.decisions.uphold("apl_1", "误判", "ann")
    assert "open" == (await Cases(desk.engine, "appeals").row("apl_1"))["status"]
    desk.failure = None
    assert "upheld" == (await desk.decisions.uphold("apl_1", "误判", "ann"))["status"]


async def test_what_takes_too_long_is_a_503(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the appeal is open."""
    monkeypatch.setattr(module, "UPHOLD_SECONDS", 0.05)
    await enter(desk.engine, appeal(1))
    desk.gate.clear()
    with pytest.raises(Problem) as caught:
        await desk.decisions.uphold("apl_1", "误判", "ann")
    assert 503 == caught.value.status
    assert "rejected" == (await desk.decisions.reject("apl_1", "查过", "ann"))["status"]


async def test_two_admins_at_once(desk: Desk) -> None:
    """While one grants an appeal nobody else decides it, either way."""
    await enter(desk.engine, appeal(1))
    desk.gate.clear()
    granting = asyncio.create_task(desk.decisions.uphold("apl_1", "误判", "ann"))
    async with asyncio.timeout(30):
        while not (await Cases(desk.engine, "appeals").row("apl_1"))["claimed_until"]:
            await asyncio.sleep(0.01)
    for other in (desk.decisions.uphold("apl_1", "x", "bob"), desk.decisions.reject("apl_1", "x", "bob")):
        with pytest.raises(Decided, match="somebody else"):
            await other
    desk.gate.set()
    assert "ann" == (await granting)["decided_by"]
    assert 1 == len(desk.restored)


async def test_a_killed_process_keeps_nobody_from_deciding(desk: Desk) -> None:
    """Its claim is over after a minute."""
    await enter(desk.engine, appeal(1))
    await desk.decisions._claim("apl_1")
    with pytest.raises(Decided):
        await desk.decisions.reject("apl_1", "x", "bob")
    desk.now += CLAIM_SECONDS + 1
    assert "rejected" == (await desk.decisions.reject("apl_1", "x", "bob"))["status"]


@pytest.mark.parametrize(("risk", "label"), [("A1d", ["harmful"]), (None, [])])
async def test_a_rejected_appeal_labels_by_its_risk(desk: Desk, risk: str | None, label: list[str]) -> None:
    """Without a risk there is nothing to learn; nobody's standing changes."""
    await enter(desk.engine, appeal(1))
    row = await desk.decisions.reject("apl_1", "查过", "ann", risk)
    assert ("rejected", risk) == (row["status"], row["risk"])
    assert (label, []) == ([one["label"] for one in await desk.labels()], desk.restored)


@pytest.mark.parametrize(
    ("founded", "risk", "label"),
    [(True, "A1d", [("harmful", "A1d")]), (True, None, []), (False, None, [("harmless", None)])],
)
async def test_an_answered_complaint_labels_the_answer(
    desk: Desk, founded: bool, risk: str | None, label: list[tuple[str, str | None]]
) -> None:
    """Founded with a risk it is harmful, unfounded harmless."""
    await enter(desk.engine, complaint(1))
    row = await desk.decisions.answer("cmp_1", "谢谢", "ann", founded=founded, risk=risk)
    assert ("answered", "谢谢", "founded" if founded else "unfounded") == (
        row["status"],
        row["answer"],
        row["decision"],
    )
    made = await desk.labels()
    assert label == [(one["label"], one["risk"]) for one in made]
    assert all((one["part"], one["sha256"], one["source"]) == ("answer", "b" * 64, "complaint") for one in made)
    with pytest.raises(Decided):
        await desk.decisions.answer("cmp_1", "谢谢", "bob", founded=True)


async def test_a_case_without_a_content_makes_no_label(desk: Desk) -> None:
    """There is nothing that it would be of."""
    await enter(desk.engine, appeal(1, content_id=""))
    await desk.decisions.uphold("apl_1", "误判", "ann")
    assert [] == await desk.labels()


async def test_an_unknown_case(desk: Desk) -> None:
    """Nobody is restored for it."""
    for unknown in (
        desk.decisions.uphold("apl_1", "x", "ann"),
        desk.decisions.reject("apl_1", "x", "ann"),
        desk.decisions.answer("cmp_1", "x", "ann", founded=True),
    ):
        with pytest.raises(UnknownCase):
            await unknown
    assert [] == desk.restored


async def test_one_of_many_at_once_decides(desk: Desk) -> None:
    """Eight answers to one complaint: one is stored, seven are told so."""
    await enter(desk.engine, complaint(1))
    answers = [desk.decisions.answer("cmp_1", f"{n}", f"admin{n}", founded=False) for n in range(8)]
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert 7 == sum(isinstance(one, Decided) for one in found)
    assert 1 == len(await desk.labels())
