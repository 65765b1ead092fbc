from itertools import count

import pytest

from keywords.coverage import DAY, coverage
from keywords.entry import Action, Entry
from keywords.risks import RISKS

NOW = 1_000_000_000.0


def library(**missing: int) -> list[Entry]:
    """Return a library that reaches every floor of 8.1, less *missing* entries of a risk."""
    ids = count(1)
    sizes = {risk.id: risk.floor - missing.get(risk.id, 0) for risk in RISKS.values()}
    sizes["A5b"] = 10_000 - 8 * 200 - 9 * 100
    return [
        Entry(id=next(ids), term=f"词{n}", risk=risk, action=Action.BLOCK if n % 2 else Action.JUDGE)
        for risk, size in sizes.items()
        for n in range(size)
    ]


def test_a_library_at_every_floor_meets_8_1() -> None:
    """8.1: 10 000 entries, 200 of each A.1 risk, 100 of each A.2 risk, updated within a week."""
    report = coverage(library(), now=NOW, updated_at=NOW - 7 * DAY)
    assert (True, 10_000, 0, 7.0) == (report.ok, report.total.have, report.total.short, report.days)
    assert {"A1a": "符合", "A2i": "符合", "A3a": "不适用", "A5b": "不适用"}.items() <= {
        row.subject: row.mark for row in report.risks
    }.items()


def test_one_missing_entry_shows_in_its_risk_and_in_the_total() -> None:
    """A floor is a floor."""
    report = coverage(library(A2c=1), now=NOW, updated_at=NOW)
    assert (False, 9_999, 1) == (report.ok, report.total.have, report.total.short)
    assert [("A2c", 99, 1, "不符合")] == [(r.subject, r.have, r.short, r.mark) for r in report.risks if r.short]


@pytest.mark.parametrize(
    ("changes", "counted"),
    [
        ({"action": Action.BLOCK}, 1),
        ({"action": Action.JUDGE}, 1),
        ({"action": Action.MASK}, 0),
        ({"action": Action.OBSERVE}, 0),
        ({"action": Action.BLOCK, "expires_at": int(NOW)}, 0),
        ({"action": Action.BLOCK, "expires_at": int(NOW) + 1}, 1),
    ],
)
def test_only_what_is_alive_and_acts_is_counted(changes: dict[str, object], counted: int) -> None:
    """A word that is only watched fills no floor."""
    report = coverage([Entry(id=1, term="词语", risk="A1a", **changes)], now=NOW, updated_at=NOW)  # type: ignore[arg-type]
    assert (counted, counted) == (report.total.have, report.risks[0].have)


@pytest.mark.parametrize(
    ("updated_at", "days", "mark"),
    [
        (None, None, "不符合"),
        (NOW - 7 * DAY - 864, 7.01, "不符合"),
        (NOW - DAY / 2, 0.5, "符合"),
        (NOW + 5, 0.0, "符合"),
    ],
)
def test_a_library_must_be_a_week_old_at_most(updated_at: float | None, days: float | None, mark: str) -> None:
    """8.1: updated at least weekly; one that never was is not fresh, a clock that lags is no fault."""
    report = coverage(library(), now=NOW, updated_at=updated_at)
    assert (days, mark, mark == "符合") == (report.days, report.fresh, report.ok)


def test_floors_are_settings() -> None:
    """Whoever is held to more can say so."""
    report = coverage(library(), now=NOW, updated_at=NOW - 2 * DAY, floor=20_000, most_days=1)
    assert (10_000, "不符合") == (report.total.short, report.fresh)


def test_the_report_as_json() -> None:
    """Plain values under stable names."""
    report = coverage(library(A1a=3), now=NOW, updated_at=NOW - DAY).as_json()
    assert ("8.1", False) == (report["clause"], report["ok"])
    assert {"have": 9_997, "floor": 10_000, "short": 3, "mark": "不符合"} == report["total"]
    assert {"days": 1.0, "most_days": 7, "mark": "符合"} == report["update"]
    first = {"risk": "A1a", "name": RISKS["A1a"].name, "have": 197, "floor": 200, "short": 3, "mark": "不符合"}
    assert (31, first) == (len(report["risks"]), report["risks"][0])
    assert {str} == {type(row["mark"]) for row in report["risks"]}


def test_the_report_as_a_page() -> None:
    """Chinese headings with the clause's number; each risk is a row."""
    page = coverage(library(A1a=3), now=NOW, updated_at=None).as_markdown()
    assert "# 关键词库评估(第 8.1 条)" == page.splitlines()[0]
    assert "结论:**不符合**" in page
    assert "| 词条总数 | ≥ 10000 | 9997 | 3 | 🔴 **不符合** |" in page
    assert "| 最近更新 | ≤ 7 天 | 从未更新 | — | 🔴 **不符合** |" in page
    assert "| A1a | 煽动颠覆国家政权、推翻社会主义制度 | ≥ 200 | 197 | 3 | 🔴 **不符合** |" in page
    assert "| A3a | 侵犯他人知识产权 | — | 0 | 0 | 不适用 |" in page
