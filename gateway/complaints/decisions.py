"""What staff decide: each case once, with a label where there is something to learn from it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, update
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.complaints import labels
from gateway.complaints.labels import HARMFUL, HARMLESS, FindTurn, Part
from gateway.complaints.published import ANSWERED, OPEN, REJECTED, UPHELD, Case
from gateway.complaints.store import Cases, Decided
from gateway.complaints.tables import appeals, complaints
from gateway.problems import Problem

UPHOLD_SECONDS = 20.0
CLAIM_SECONDS = 60
"""For which an appeal is one admin's, while a standing is being restored; longer than that may take."""

Uphold = Callable[[str, str, str, str], Awaitable[object]]
"""Restores standing and level of a person, once for each appeal: person, reason, admin's name, the appeal's id."""


def _ignore() -> None:
    """Tell nobody."""


class _Label(NamedTuple):
    """What a decision says of which text."""

    label: str
    part: Part
    sha256: str

    def of(self, row: Mapping[str, Any], decided: Mapping[str, Any], case: Case) -> dict[str, Any]:
        """Return the label's row."""
        return {
            **self._asdict(),
            "content_id": row["content_id"],
            "risk": decided.get("risk"),
            "source": "appeal" if case == "appeals" else "complaint",
            "source_id": row["id"],
            "made_by": decided["decided_by"],
            "made_at": decided["decided_at"],
        }


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decides cases. *changed* is called after each decision, so that the workers are told of it now."""

    engine: AsyncEngine
    uphold_person: Uphold
    find_turn: FindTurn
    changed: Callable[[], None] = _ignore
    clock: Callable[[], float] = time.time

    async def uphold(self, case_id: str, reason: str, by: str) -> Mapping[str, Any]:
        """Grant an appeal: the person's standing is restored, then the decision is stored; return its row.

        Raises `UnknownCase`, `Decided`, and whatever keeps the standing from being restored: then the appeal is open.
        Where the process is killed between the two the appeal stays open, too, and can be granted again: what was
        restored is not restored twice.
        """
        row = await Cases(self.engine, "appeals").row(case_id)
        sha256 = await self._sha256(row, "words")  # now: what fails must not do so behind a standing that is restored
        await self._claim(case_id)
        try:
            async with asyncio.timeout(UPHOLD_SECONDS):
                await self.uphold_person(row["person"], reason, by, case_id)
        except BaseException as error:
            await self._release(case_id)
            if isinstance(error, TimeoutError):
                text = "The standing could not be restored in time; the appeal is still open."
                raise Problem(503, text, kind="server_error", code="state_unavailable", retry_after=5) from None
            raise
        values = {"status": UPHELD, "reason": reason, "claimed_until": 0}
        return await self._decided(appeals, row, values, by, _Label(HARMLESS, "words", sha256))

    async def reject(self, case_id: str, reason: str, by: str, risk: str | None = None) -> Mapping[str, Any]:
        """Refuse an appeal; *risk* says what the words are. Raises `UnknownCase` and `Decided`."""
        values = {"status": REJECTED, "reason": reason, "risk": risk}
        row = await Cases(self.engine, "appeals").row(case_id)
        label = None if risk is None else _Label(HARMFUL, "words", await self._sha256(row, "words"))
        return await self._decided(appeals, row, values, by, label, appeals.c.claimed_until < int(self.clock()))

    async def answer(
        self, case_id: str, answer: str, by: str, *, founded: bool, risk: str | None = None
    ) -> Mapping[str, Any]:
        """Answer a complaint. Raises `UnknownCase` and `Decided`.

        An unfounded one labels the content harmless, a founded one with a *risk* harmful; without a risk (an answer
        that was slow, or wrong) there is nothing to learn.
        """
        decision = "founded" if founded else "unfounded"
        values = {"status": ANSWERED, "answer": answer, "decision": decision, "risk": risk if founded else None}
        row = await Cases(self.engine, "complaints").row(case_id)
        label = None
        if not founded or risk is not None:
            label = _Label(HARMFUL if founded else HARMLESS, "answer", await self._sha256(row, "answer"))
        return await self._decided(complaints, row, values, by, label)

    async def _sha256(self, row: Mapping[str, Any], part: Part) -> str:
        """Return the digest of a text of the turn that a case is about; empty: nobody knows it."""
        turn = await self.find_turn(row["content_id"]) if row["content_id"] else None
        return turn.sha256(part) if turn is not None else ""

    async def _claim(self, case_id: str) -> None:
        """Keep others from deciding an appeal meanwhile. Raises `Decided`."""
        now = int(self.clock())
        free = (appeals.c.id == case_id) & (appeals.c.status == OPEN) & (appeals.c.claimed_until < now)
        async with self.engine.begin() as connection:
            claim = update(appeals).where(free).values(claimed_until=now + CLAIM_SECONDS)
            claimed = (await connection.execute(claim)).rowcount
        if not claimed:
            raise _refusal(await Cases(self.engine, "appeals").row(case_id))

    async def _release(self, case_id: str) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(update(appeals).where(appeals.c.id == case_id).values(claimed_until=0))

    async def _decided(  # noqa: PLR0913, PLR0917 - all that a decision says
        self,
        table: Table,
        row: Mapping[str, Any],
        values: dict[str, Any],
        by: str,
        label: _Label | None,
        free: ColumnElement[bool] | None = None,
    ) -> Mapping[str, Any]:
        """Store a decision, if the case is still open (and *free*), and its label with it."""
        cases = Cases(self.engine, "appeals" if table is appeals else "complaints")
        decided = {**values, "decided_by": by, "decided_at": int(self.clock()), "published": False}
        change = update(table).where(table.c.id == row["id"], table.c.status == OPEN)
        if free is not None:
            change = change.where(free)
        async with self.engine.begin() as connection:
            mine = bool((await connection.execute(change.values(decided))).rowcount)
            if mine and label is not None and row["content_id"]:
                await labels.add(connection, label.of(row, decided, cases.case))
        found = await cases.row(row["id"])
        if not mine:
            raise _refusal(found)
        self.changed()
        return found


def _refusal(row: Mapping[str, Any]) -> Decided:
    if row["status"] == OPEN:
        return Decided(f"`{row['id']}` is being decided by somebody else now.")
    return Decided(f"`{row['id']}` was decided by {row['decided_by']}: {row['status']}.")
