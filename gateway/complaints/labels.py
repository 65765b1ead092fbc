"""What staff decide, as labels that a classifier can learn from."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.audit.tables import audit_turns
from gateway.complaints.tables import labels

PART = 1_000
HARMFUL, HARMLESS = "harmful", "harmless"
Part = Literal["words", "answer"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the index knows of a turn: where its records stand, and the digests of its texts."""

    records: tuple[dict[str, Any], ...] = ()
    """Writer and number of each."""
    words_sha256: str = ""
    answer_sha256: str = ""

    def sha256(self, part: Part) -> str:
        """Return the digest of one of its texts; empty: there is none."""
        return self.words_sha256 if part == "words" else self.answer_sha256


FindTurn = Callable[[str], Awaitable[Turn | None]]
"""Finds a turn by its content id."""


def finding(engine: AsyncEngine) -> FindTurn:
    """Return what finds a turn in the index of the audit log."""

    async def find(content_id: str) -> Turn | None:
        turns = audit_turns.c
        query = select(turns.writer, turns.seq, turns.words_sha256, turns.answer_sha256).where(turns.id == content_id)
        async with engine.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return Turn(({"writer": row.writer, "seq": row.seq},), row.words_sha256 or "", row.answer_sha256 or "")

    return find


async def add(connection: AsyncConnection, label: Mapping[str, Any]) -> None:
    """Enter a label, in the transaction of the decision that makes it."""
    await connection.execute(insert(labels).values(**label))


class Labels:
    """The labels as they are stored."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def page(self, limit: int, after: int, label: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* labels behind number *after*, in the order of their making."""
        query = select(labels).where(labels.c.number > after).order_by(labels.c.number).limit(limit)
        if label is not None:
            query = query.where(labels.c.label == label)
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def every(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield all labels in parts."""
        last = 0
        while part := await self.page(PART, last):
            last = part[-1]["number"]
            yield part
