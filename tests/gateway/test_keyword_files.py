"""Files into the draft and out of it, and what is done to many entries at once, over a real database."""

import asyncio
import dataclasses
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.keyword_bulk import remove_source
from gateway.keyword_files import Format, take_in, written
from gateway.keyword_store import EntryInvalid, KeywordStore, Origin
from gateway.settings import Settings
from gateway.state import sql
from keywords.entry import Action, Boundary, Direction, Entry, Match
from keywords.importers import read

ENTRIES = [
    Entry(
        id=0, term="毒药", risk="A1d", severity=3, action=Action.BLOCK, boundary=Boundary.NONE, exceptions=("毒药|片",),
        tags=("甲", "b c"), licence="MIT", note="why\nnot", added_by="me", reviewed_at=1, expires_at=2, benign_hits=0,
        benign_texts=7_100,
    ),
    Entry(id=0, term="=1+1 x", risk="A2a", action=Action.MASK, direction=Direction.OUT, mask="", added_by="me"),
    Entry(id=0, term="a.+b", risk="A1a", match=Match.REGEX, direction=Direction.IN, source="s", added_by="me"),
    Entry(id=0, term="枪支&购买", risk="A1a", match=Match.COMBO, direction=Direction.IN, within=7, added_by="me"),
]  # fmt: skip


@pytest.fixture
async def store(database: Settings) -> AsyncIterator[KeywordStore]:
    async with sql.opened(database) as engine:
        yield KeywordStore(engine)


async def enter(store: KeywordStore, data: str | bytes, name: str = "a.csv", **given: Any) -> dict[str, Any]:
    data = data if isinstance(data, bytes) else data.encode()
    return await take_in(store, data, **{"name": name, "risk": "A1b", "by": "me", **given})


def counts(done: dict[str, Any]) -> tuple[int, ...]:
    return tuple(done[name] for name in ("added", "updated", "unchanged", "differing", "not_raised", "rejected"))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_what_was_exported_is_imported_again(store: KeywordStore, form: Format) -> None:
    """The same entries with the same fields; observing only, unless somebody says why not."""
    data = b"".join(written(ENTRIES, form))
    assert (4, 0, 0, 0, 0, 0) == counts(await enter(store, data, f"a.{form}"))
    for mine, found in zip(ENTRIES, await store.entries(), strict=True):
        wish = f" wanted: {mine.action}" if mine.action is not Action.OBSERVE else ""
        expected = dataclasses.replace(
            mine.unmeasured(), id=found.id, action=Action.OBSERVE, note=(mine.note + wish).strip()
        )
        assert expected == found
        await store.delete(found.id)
    await enter(store, data, f"a.{form}", keep_actions="our own")
    kept = [(found.action, found.benign_hits, found.benign_texts) for found in await store.entries()]
    assert [(mine.action, mine.benign_hits, mine.benign_texts) for mine in ENTRIES] == kept
    again = b"".join(written(await store.entries(), form))
    assert (0, 0, 4, 0, 0, 0) == counts(await enter(store, again, f"a.{form}", update=True, keep_actions="again"))


def test_a_written_file_is_one_file() -> None:
    """Though it is written in parts."""
    entries = [Entry(id=0, term=f"词{number}号", risk="A1b") for number in range(2_500)]
    for form in ("csv", "jsonl"):
        data = b"".join(written(entries, form))
        found = read(data, name=f"a.{form}", risk="A1b", keep_actions=True)
        assert ([e.term for e in entries], []) == ([e.term for e in found.entries], found.rejected)


async def test_an_update_takes_what_a_row_states(store: KeywordStore) -> None:
    """The rest stays, and so does what no row is about; without it nothing changes."""
    for term in ("毒药", "炸药"):
        await store.create(Entry(id=0, term=term, risk="A1d", action=Action.JUDGE, severity=3, note="mine"))
    rows = "term,risk,tags,action\n毒 藥,A1f,甲,\n炸药,A1d,,judge\n新词,,,\n。,,,\n"
    assert (1, 0, 1, 1, 0, 1) == counts(await enter(store, rows))
    assert "A1d" == (await store.entries())[0].risk
    done = await enter(store, rows, update=True)
    assert (0, 1, 2, 0, 0, 1) == counts(done) and [5] == [row["line"] for row in done["rejected_rows"]]
    found = (await store.entries())[0]
    assert ("毒药", "A1f", ("甲",), "judge", 3, "mine", "") == (
        found.term, found.risk, found.tags, found.action, found.severity, found.note, found.source,
    )  # fmt: skip


async def test_an_update_raises_no_action(store: KeywordStore) -> None:
    """It may lower one; raised it is by a reason alone, which the note keeps."""
    await store.create(Entry(id=0, term="毒药", risk="A1d", action=Action.JUDGE))
    row = "term,action\n毒药,{}\n".format
    assert (0, 0, 1, 0, 1, 0) == counts(await enter(store, row("block"), update=True))
    assert (0, 1, 0, 0, 0, 0) == counts(await enter(store, row("observe"), update=True))
    assert (0, 0, 1, 0, 1, 0) == counts(await enter(store, row("mask"), update=True))
    assert (0, 1, 0, 0, 0, 0) == counts(await enter(store, row("block"), update=True, keep_actions="the police"))
    [found] = await store.entries()
    assert (Action.BLOCK, "forced: the police") == (found.action, found.note)


async def test_what_an_update_would_spoil_is_refused_by_line(store: KeywordStore) -> None:
    """A fault, and an imported entry that would act unmeasured; every other row is taken."""
    await store.create(Entry(id=0, term="毒药", risk="A1d"))
    await store.add_all([Entry(id=0, term="abc", risk="A1d")], Origin.IMPORT)
    imported = (await store.entries())[1]
    await store.change(imported.id, {"action": Action.JUDGE}, "must be")
    rows = "term,exceptions,risk\n毒药,毒,\n新词,,\nabc,abc def,A1f\n"
    done = await enter(store, rows, update=True)
    assert [(2, "exceptions: `毒` is no longer word that contains the term")] == [
        (row["line"], row["reason"]) for row in done["rejected_rows"]
    ]
    assert (1, 1) == (done["added"], done["updated"])


async def test_expressions_that_cannot_be_used_have_their_line(store: KeywordStore) -> None:
    """As every other row that is refused."""
    done = await enter(store, "term,match\n毒药,\n(abc,regex\n")
    assert [(3, "term")] == [(row["line"], row["reason"][:4]) for row in done["rejected_rows"]]


@pytest.mark.parametrize(
    ("name", "data", "field"), [("a.png", b"abc", "name"), ("a.txt", b"\0", "body"), ("a.csv", b"", "body")]
)
async def test_a_file_that_is_no_list_is_named(store: KeywordStore, name: str, data: bytes, field: str) -> None:
    """Before anything is entered."""
    with pytest.raises(EntryInvalid, match=name) as caught:
        await enter(store, data, name)
    assert field == caught.value.field


async def test_what_somebody_changes_meanwhile_stays(store: KeywordStore) -> None:
    """An update is made of what is there when it is written, whoever was quicker."""
    made = [await store.create(Entry(id=0, term=f"毒药{number}号", risk="A1d")) for number in range(40)]
    rows = "term,risk\n" + "".join(f"毒药{number}号,A1f\n" for number in range(40))

    async def edit() -> None:
        for record in made:
            await store.change(record["id"], {"severity": 3}, by="somebody")

    done, _ = await asyncio.gather(enter(store, rows, update=True), edit())
    assert 40 == done["updated"]
    assert {("A1f", 3)} == {(found.risk, found.severity) for found in await store.entries()}


async def test_a_source_is_removed_as_a_whole(store: KeywordStore) -> None:
    """Counted first, and by its whole name; 20 000 rows in a moment."""
    for source, count in (("list", 20_000), ("list 2", 1)):
        terms = (f"{source} 词{number}" for number in range(count))
        await store.add_all([Entry(id=0, term=term, risk="A1d", source=source) for term in terms], Origin.IMPORT)
    assert (20_000, False) == tuple((await remove_source(store, "list", dry=True)).values())[1:]
    begun = time.monotonic()
    await remove_source(store, "list", dry=False)
    assert time.monotonic() - begun < 5
    assert ["list 2"] == [entry.source for entry in await store.entries()]
    with pytest.raises(EntryInvalid, match="`list 2`"):
        await remove_source(store, "list", dry=False)


LAG_BOUND = 0.020
"""Seconds for which an import may hold the event loop of the admin API."""


async def largest_lag(work: "asyncio.Task[Any]") -> float:
    """Return for how long this process held its event loop at most, not counting what the machine gave to others."""
    largest = 0.0
    while not work.done():
        wall, used = time.perf_counter(), time.process_time()
        await asyncio.sleep(0.001)
        largest = max(largest, min(time.perf_counter() - wall - 0.001, time.process_time() - used))
    await work
    return largest


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("untraced")
async def test_a_large_file_does_not_hold_the_event_loop(tmp_path: Path) -> None:
    """Neither where its words are new nor where they change what is there."""
    rows = "".join(f"毒药{number}号,甲|乙,{{}}\n" for number in range(20_000))
    gc.collect()
    gc.freeze()  # as the control process does
    try:
        async with sql.opened(Settings(data_dir=tmp_path)) as engine:
            store = KeywordStore(engine)
            lags = []
            for severity in (1, 2, 3):
                text = "term,tags,severity\n" + rows.replace("{}", str(severity))
                lags.append(await largest_lag(asyncio.create_task(enter(store, text, update=True))))
        assert sorted(lags)[1] < LAG_BOUND  # a machine that is busy holds it once as well
    finally:
        gc.unfreeze()
