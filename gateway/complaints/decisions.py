"""What staff decide: each case once, with a label where there is something to learn from it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.complaints import labels
from gateway.complaints.labels import HARMFUL, HARMLESS, FindTurn, Part, find_nothing
from gateway.complaints.published import ANSWERED, OPEN, REJECTED, UPHELD
from gateway.complaints.store import Cases, Decided
from gateway.complaints.tables import appeals, complaints
from gateway.problems import Problem

UPHOLD_SECONDS = 20.0
CLAIM_SECONDS = 60
"""For which an appeal is one admin's, while a standing is being restored; longer than that may take."""

Uphold = Callable[[str, str, str], Awaitable[object]]
"""Restores standing and level of a person: person, reason, admin's name."""


def _ignore() -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decides cases. *changed* is called after each decision, so that the workers are told of it now."""

    engine: AsyncEngine
    uphold_person: Uphold
    find_turn: FindTurn = find_nothing
    changed: Callable[[], None] = _ignore
    clock: Callable[[], float] = time.time

    async def uphold(self, case_id: str, reason: str, by: str) -> Mapping[str, Any]:
        """Grant an appeal: the person's standing is restored, then the decision is stored; return its row.

        Raises `UnknownCase`, `Decided`, and whatever keeps the standing from being restored: then the appeal is open.
        Where the process is killed between the two the appeal stays open, too, and can be granted again.
        """
        person = await self._claim(case_id)
        try:
            async with asyncio.timeout(UPHOLD_SECONDS):
                await self.uphold_person(person, reason, by)
        except BaseException as error:
            await self._release(case_id)
            if isinstance(error, TimeoutError):
                text = "The standing could not be restored in time; the appeal is still open."
                raise Problem(503, text, kind="server_error", code="state_unavailable", retry_after=5) from None
            raise
        values = {"status": UPHELD, "reason": reason, "claimed_until": 0}
        return await self._decided(appeals, case_id, values, by, label=HARMLESS, part="words")

    async def reject(self, case_id: str, reason: str, by: str, risk: str | None = None) -> Mapping[str, Any]:
        """Refuse an appeal; *risk* says what the words are. Raises `UnknownCase` and `Decided`."""
        values = {"status": REJECTED, "reason": reason, "risk": risk}
        free = appeals.c.claimed_until < int(self.clock())
        label = HARMFUL if risk is not None else None
        return await self._decided(appeals, case_id, values, by, label=label, part="words", where=free)

    async def answer(
        self, case_id: str, answer: str, by: str, *, founded: bool, risk: str | None = None
    ) -> Mapping[str, Any]:
        """Answer a complaint. Raises `UnknownCase` and `Decided`.

        An unfounded one labels the content harmless, a founded one with a *risk* harmful; without a risk (an answer
        that was slow, or wrong) there is nothing to learn.
        """
        decision = "founded" if founded else "unfounded"
        values = {"status": ANSWERED, "answer": answer, "decision": decision, "risk": risk if founded else None}
        label = HARMLESS if not founded else HARMFUL if risk is not None else None
        return await self._decided(complaints, case_id, values, by, label=label, part="answer")

    async def _claim(self, case_id: str) -> str:
        """Keep others from deciding an appeal meanwhile; return whose it is."""
        now = int(self.clock())
        mine = (appeals.c.id == case_id) & (appeals.c.status == OPEN) & (appeals.c.claimed_until < now)
        async with self.engine.begin() as connection:
            claim = update(appeals).where(mine).values(claimed_until=now + CLAIM_SECONDS)
            claimed = (await connection.execute(claim)).rowcount
        row = await Cases(self.engine, "appeals").row(case_id)
        if not claimed:
            raise _refusal(row)
        return str(row["person"])

    async def _release(self, case_id: str) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(update(appeals).where(appeals.c.id == case_id).values(claimed_until=0))

    async def _decided(  # noqa: PLR0913 - all that a decision says, by name
        self,
        table: Table,
        case_id: str,
        values: dict[str, Any],
        by: str,
        *,
        label: str | None,
        part: Part,
        where: ColumnElement[bool] | None = None,
    ) -> Mapping[str, Any]:
        """Store a decision, if the case is still open, and its label with it."""
        cases = Cases(self.engine, "appeals" if table is appeals else "complaints")
        row = await cases.row(case_id)
        turn = await self.find_turn(row["content_id"]) if row["content_id"] else None
        now = int(self.clock())
        decided = {**values, "decided_by": by, "decided_at": now, "published": False}
        still = (table.c.id == case_id) & (table.c.status == OPEN)
        change = update(table).where(still if where is None else still & where).values(decided)
        async with self.engine.begin() as connection:
            mine = bool((await connection.execute(change)).rowcount)
            if mine and label is not None and row["content_id"]:
                sha256 = turn.sha256(part) if turn is not None else ""
                await self._label(connection, row, {**decided, "label": label, "part": part, "sha256": sha256})
        found = await cases.row(case_id)
        if not mine:
            raise _refusal(found)
        self.changed()
        return found

    @staticmethod
    async def _label(connection: AsyncConnection, row: Mapping[str, Any], decided: Mapping[str, Any]) -> None:
        label = {
            "content_id": row["content_id"],
            "part": decided["part"],
            "sha256": decided["sha256"],
            "label": decided["label"],
            "risk": decided.get("risk"),
            "source": "complaint" if "kind" in row else "appeal",
            "source_id": row["id"],
            "made_by": decided["decided_by"],
            "made_at": decided["decided_at"],
        }
        await labels.add(connection, label)


def _refusal(row: Mapping[str, Any]) -> Decided:
    if row["status"] == OPEN:
        return Decided(f"`{row['id']}` is being decided by somebody else now.")
    return Decided(f"`{row['id']}` was decided by {row['decided_by']}: {row['status']}.")
