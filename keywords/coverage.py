"""What clause 8.1 asks of the keyword library, counted: how many entries, of which risks, how fresh."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from keywords.entry import Action, Entry
from keywords.risks import RISKS

CLAUSE = "8.1"
FLOOR = 10_000
"""Entries of the whole library (TC260-003-2024, 8.1)."""
MOST_DAYS = 7
"""Between two updates (8.1: at least weekly)."""
COUNTED = frozenset({Action.BLOCK, Action.JUDGE})
"""A word that is only observed or masked keeps nothing from being asked, so it fills no floor."""
DAY = 86_400
"""Seconds."""


class Mark(StrEnum):
    """How the assessment report of clause 9.1 calls a result."""

    MET = "符合"
    UNMET = "不符合"
    NONE = "不适用"
    """No number is asked for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One count against its floor; *subject* is a risk's id, or empty for the whole library."""

    subject: str
    name: str
    have: int
    floor: int

    @property
    def short(self) -> int:
        """Entries that are missing; 0 where the floor is reached."""
        return max(0, self.floor - self.have)

    @property
    def mark(self) -> Mark:
        """Return the row's result."""
        if self.floor == 0:
            return Mark.NONE
        return Mark.UNMET if self.short else Mark.MET


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the library under clause 8.1. *days* since the last update; None: never updated."""

    total: Row
    risks: tuple[Row, ...]
    days: float | None
    most_days: int = MOST_DAYS

    @property
    def fresh(self) -> Mark:
        """Return whether the last update is recent enough."""
        return Mark.MET if self.days is not None and self.days <= self.most_days else Mark.UNMET

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        marks = {self.total.mark, self.fresh, *(row.mark for row in self.risks)}
        return Mark.UNMET not in marks

    def as_json(self) -> dict[str, Any]:
        """Return the report as a plain dict."""
        return {
            "clause": CLAUSE,
            "ok": self.ok,
            "total": _row_json(self.total),
            "risks": [{"risk": row.subject, "name": row.name, **_row_json(row)} for row in self.risks],
            "update": {"days": self.days, "most_days": self.most_days, "mark": self.fresh.value},
        }

    def as_markdown(self) -> str:
        """Return the report as a page in Chinese, for whoever assesses the service."""
        verdict = Mark.MET if self.ok else Mark.UNMET
        days = "从未更新" if self.days is None else f"{self.days:.1f} 天前"
        lines = [
            f"# 关键词库评估(第 {CLAUSE} 条)",
            "",
            f"结论:**{verdict.value}**。仅统计生效中的拦截(block)与送审(judge)词条。",
            "",
            f"## {CLAUSE} 规模与更新",
            "",
            "| 项目 | 要求 | 现状 | 差额 | 结果 |",
            "| --- | ---: | ---: | ---: | --- |",
            f"| 词条总数 | ≥ {self.total.floor} | {self.total.have} | {self.total.short} | {_shown(self.total.mark)} |",
            f"| 最近更新 | ≤ {self.most_days} 天 | {days} | — | {_shown(self.fresh)} |",
            "",
            f"## {CLAUSE} 各类风险",
            "",
            "| 编号 | 安全风险 | 要求 | 现状 | 差额 | 结果 |",
            "| --- | --- | ---: | ---: | ---: | --- |",
            *map(_row_markdown, self.risks),
        ]
        return "\n".join(lines) + "\n"


def _shown(mark: Mark) -> str:
    """Return *mark* as it stands in the page: what is missing is seen at once."""
    return f"🔴 **{mark.value}**" if mark is Mark.UNMET else mark.value


def _row_json(row: Row) -> dict[str, Any]:
    return {"have": row.have, "floor": row.floor, "short": row.short, "mark": row.mark.value}


def _row_markdown(row: Row) -> str:
    floor = f"≥ {row.floor}" if row.floor else "—"
    return f"| {row.subject} | {row.name} | {floor} | {row.have} | {row.short} | {_shown(row.mark)} |"


def coverage(
    entries: Iterable[Entry], *, now: float, updated_at: float | None, floor: int = FLOOR, most_days: int = MOST_DAYS
) -> Report:
    """Count *entries* that are alive at *now* and stop or delay a question; times are Unix seconds."""
    counts = Counter(entry.risk for entry in entries if entry.action in COUNTED and entry.alive(now))
    return Report(
        total=Row("", "词条总数", counts.total(), floor),
        risks=tuple(Row(risk.id, risk.name, counts[risk.id], risk.floor) for risk in RISKS.values()),
        days=None if updated_at is None else max(0.0, now - updated_at) / DAY,
        most_days=most_days,
    )
