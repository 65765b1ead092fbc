"""The log of the draft's edits, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import keyword_changes
from gateway.keyword_bulk import remove_source
from gateway.keyword_changes import Edit, KeywordChanges, Kind, Search, many, record
from gateway.keyword_files import take_in
from gateway.keyword_store import KeywordStore, Origin
from gateway.keyword_trials import Trials
from gateway.keyword_versions import KeywordVersions
from gateway.settings import Settings
from gateway.state import sql
from keywords.entry import Action, Entry


@pytest.fixture
async def store(database: Settings) -> AsyncIterator[KeywordStore]:
    async with sql.opened(database) as engine:
        yield KeywordStore(engine)


async def rows(store: KeywordStore, **which: Any) -> list[dict[str, Any]]:
    return await KeywordChanges(store.engine).page(100, 0, Search(**which))


def told(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["kind"], row["made_by"], row["term"], row["count"], row["why"]) for row in found]


async def test_an_entry_has_its_story(store: KeywordStore) -> None:
    """Who made it, changed it from what to what and why, and took it out; a change that changes nothing is none."""
    made = await store.create(Entry(id=0, term="毒药", risk="A1d", added_by="li"))
    await store.change(made["id"], {"severity": 2}, by="wang")
    await store.change(made["id"], {"severity": 3, "tags": ("甲",)}, "must be", by="wang")
    await store.delete(made["id"], by="zhang")
    found = await rows(store, entry=made["id"])
    assert [
        ("removed", "zhang", "毒药", 1, ""),
        ("changed", "wang", "毒药", 1, "must be"),
        ("added", "li", "毒药", 1, ""),
    ] == told(found)
    assert {"severity": [2, 3], "tags": [[], ["甲"]], "note": ["", "forced: must be"]} == found[1]["fields"]
    assert {"risk": "A1d", "added_by": "li"} == found[2]["fields"]
    assert {"severity": 3, "tags": ["甲"], "note": "forced: must be"} | found[2]["fields"] == found[0]["fields"]
    assert found[1:2] == await rows(store, by="wang") and found[2:] == await rows(store, kind="added")


async def test_what_is_done_to_many_is_one_row(store: KeywordStore) -> None:
    """And one for each entry that was there and is another now."""
    await store.create(Entry(id=0, term="毒药", risk="A1d", added_by="li"))
    data = "term,risk\n毒药,A1f\n火药,A1f\n".encode()
    await take_in(store, data, name="a.csv", risk="A1d", source="s", by="wang", update=True)
    await remove_source(store, "s", Edit("zhang", "old"), dry=True)
    await remove_source(store, "s", Edit("zhang", "old"), dry=False)
    assert ["source_removed", "imported", "added"] == [row["kind"] for row in await rows(store)]
    found = await rows(store, all=True)
    assert [
        ("source_removed", "zhang", "s", 1, "old"),
        ("imported", "wang", "a.csv", 2, ""),
        ("changed", "wang", "毒药", 1, "the file a.csv"),
        ("added", "li", "毒药", 1, ""),
    ] == told(found)
    assert {"risk": ["A1d", "A1f"]} == found[2]["fields"]
    await take_in(store, data[:18], name="a.csv", risk="A1d", by="wang")
    assert 4 == len(await rows(store, all=True))


async def test_a_calibration_is_told(store: KeywordStore) -> None:
    """With each action that it set."""
    await store.add_all([Entry(id=0, term="毒药", risk="A1d", action=Action.BLOCK)], Origin.HAND)
    trials = Trials(store, KeywordVersions(store.engine))
    await trials.calibrate(["毒药", "b"], apply=True, edit=Edit("li", "few are enough"))
    assert ["calibrated"] == [row["kind"] for row in await rows(store)]
    found = await rows(store, all=True)
    assert found[1:] == await rows(store, entry=found[1]["entry"])
    assert [("calibrated", "li", "", 1), ("changed", "li", "毒药", 1)] == [row[:4] for row in told(found)]
    assert "measured on 2 harmless texts; few are enough" == found[1]["why"]
    assert {"texts": 2, "measured": 1} == found[0]["fields"]
    assert ["block", "observe"] == found[1]["fields"]["action"]


async def test_the_oldest_rows_go(store: KeywordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is bounded, and read in pages."""
    monkeypatch.setattr(keyword_changes, "MOST", 5)
    for number in range(8):
        async with store.engine.begin() as connection:
            await record(connection, [many(Kind.IMPORTED, number, Edit("li"))])
    log = KeywordChanges(store.engine)
    first = await log.page(3)
    assert [7, 6, 5] == [row["count"] for row in first]
    assert [4, 3] == [row["count"] for row in await log.page(3, first[-1]["number"])]
