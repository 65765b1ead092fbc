"""The draft of the keyword library and its versions, over a real database."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gateway.keyword_files import take_in, written
from gateway.keyword_measures import store_hits
from gateway.keyword_store import EntryInvalid, Filter, KeywordStore, Origin, TermTaken, UnknownEntry
from gateway.keyword_versions import (
    KeywordVersions,
    Kind,
    NotNow,
    Release,
    UnknownVersion,
    differences,
    ensure_first,
    standing,
)
from gateway.settings import Settings
from gateway.state import sql
from keywords.calibration import FEWEST_TEXTS
from keywords.entry import Action, Direction, Entry, Match
from keywords.importers import read
from tests.gateway.migrating import migrate


class Books:
    """Draft and versions."""

    def __init__(self, store: KeywordStore, versions: KeywordVersions) -> None:
        self.store = store
        self.versions = versions

    async def add(self, term: str, **fields: Any) -> int:
        made = await self.store.create(entry(term, **fields))
        return int(made["id"])

    async def freeze(self) -> int:
        return int((await self.versions.freeze(await self.store.entries(), "test", "tester"))["n"])


@pytest.fixture
async def books(database: Settings) -> AsyncIterator[Books]:
    async with sql.opened(database) as engine:
        yield Books(KeywordStore(engine), KeywordVersions(engine))


def entry(term: str, **fields: Any) -> Entry:
    return Entry(**{"id": 0, "term": term, "risk": "A1a", "action": Action.BLOCK, **fields})


async def test_an_entry_comes_back_as_it_was_entered(books: Books) -> None:
    """Every field survives the database."""
    full = entry(
        "毒药",
        severity=3,
        match=Match.EXACT,
        direction=Direction.IN,
        exceptions=("毒药片",),
        tags=("甲", "b c"),
        source="hand",
        note="why\nnot",
        added_by="me",
        reviewed_at=1,
        expires_at=2,
    )
    number = (await books.store.create(full))["id"]
    [found] = await books.store.entries()
    assert found == Entry(**{name: getattr(full, name) for name in Entry.__dataclass_fields__} | {"id": number})


@pytest.mark.parametrize("other", ["毒 药", "毒-藥", "毒药"])
async def test_what_folds_to_the_same_is_a_duplicate(books: Books, other: str) -> None:
    """One term is entered once, however it is written."""
    await books.add("毒药")
    with pytest.raises(TermTaken):
        await books.add(other)
    await books.add(other, direction=Direction.OUT)


async def test_faults_are_named(books: Books) -> None:
    """What is wrong is refused by the name of its field."""
    for fields, field in (
        ({"risk": "A9z"}, "risk"),
        ({"term": "。"}, "term"),
        ({"match": Match.REGEX, "term": "(a", "direction": Direction.IN}, "term"),
        ({"term": "毒药粉末", "match": Match.PINYIN}, "direction"),
        ({"tags": (" ",)}, "tags"),
    ):
        with pytest.raises(EntryInvalid) as caught:
            await books.add(**{"term": "毒药", **fields})
        assert field == caught.value.field


async def test_search(books: Books) -> None:
    """Each condition narrows the list, and pages follow each other."""
    first = await books.add("毒药%", tags=("甲", "乙"), source="a")
    second = await books.add("Poison pill", risk="A2a", action=Action.OBSERVE)
    third = await books.add("毒气弹", match=Match.EXACT)
    for which, expected in (
        (Filter(q="毒"), [first, third]),
        (Filter(q="poison"), [second]),
        (Filter(q="%"), [first]),
        (Filter(risk="A2a"), [second]),
        (Filter(action="block"), [first, third]),
        (Filter(match="exact"), [third]),
        (Filter(tag="乙"), [first]),
        (Filter(tag="乙甲"), []),
        (Filter(source="a"), [first]),
    ):
        assert expected == [found["id"] for found in await books.store.page(10, 0, which)], which
    assert [second] == [found["id"] for found in await books.store.page(1, first)]


async def test_a_deleted_id_is_not_given_away_again(books: Books) -> None:
    """Versions hold it."""
    number = await books.add("毒药")
    await books.store.delete(number)
    assert await books.add("毒药") > number
    with pytest.raises(UnknownEntry):
        await books.store.delete(number)


async def test_imported_entries_act_only_once_they_are_measured(books: Books) -> None:
    """Until then they observe; with hits among harmless texts they may judge but not block; or somebody says why."""
    await books.store.add_all([entry("毒药", action=Action.OBSERVE)], Origin.IMPORT)
    [found] = await books.store.entries()
    for action in (Action.JUDGE, Action.BLOCK):
        with pytest.raises(EntryInvalid, match="never measured"):
            await books.store.change(found.id, {"action": action})
    await store_hits(books.store, [found], {found.id: 2}, FEWEST_TEXTS)
    with pytest.raises(EntryInvalid, match="2 harmless texts"):
        await books.store.change(found.id, {"action": Action.BLOCK})
    assert (await books.store.change(found.id, {"action": Action.JUDGE}))["action"] == "judge"
    forced = await books.store.change(found.id, {"action": Action.BLOCK}, "the police asked")
    assert ("block", "forced: the police asked") == (forced["action"], forced["note"])


async def test_another_term_is_another_measurement(books: Books) -> None:
    """A changed term has not been measured, and does not keep an action that needed it."""
    await books.store.add_all([entry("毒药", action=Action.OBSERVE)], Origin.IMPORT)
    [found] = await books.store.entries()
    await store_hits(books.store, [found], {}, FEWEST_TEXTS)
    await books.store.change(found.id, {"action": Action.BLOCK})
    with pytest.raises(EntryInvalid, match="never measured"):
        await books.store.change(found.id, {"term": "的"})
    await books.store.change(found.id, {"note": "a note changes nothing"})


async def test_many_are_entered_once(books: Books) -> None:
    """What the draft has already is counted, not entered again."""
    await books.add("毒药")
    added, taken = await books.store.add_all([entry("毒药"), entry("炸药"), entry("炸 药")], Origin.IMPORT)
    assert (1, ["毒药", "炸 药"]) == (added, [found.term for found in taken])


async def test_the_stamp_changes_with_the_draft(books: Books) -> None:
    """Whatever is done to the draft shows in its stamp."""
    stamps = [await books.store.stamp()]
    number = await books.add("毒药")
    stamps.append(await books.store.stamp())
    await books.store.change(number, {"note": "x"})
    stamps.append(await books.store.stamp())
    await books.store.delete(number)
    stamps.append(await books.store.stamp())
    assert len(set(stamps[:3])) == 3 and stamps[3] == stamps[0]


async def test_a_version_stays_as_it_was_frozen(books: Books) -> None:
    """Later changes to the draft do not touch it, and the next version shows them."""
    number = await books.add("毒药")
    other = await books.add("炸药")
    assert await books.freeze() == 1
    with pytest.raises(NotNow):
        await books.freeze()
    await books.store.change(number, {"severity": 3})
    await books.store.delete(other)
    third = await books.add("毒气")
    assert await books.freeze() == 2
    old, new = await books.versions.entries(1), await books.versions.entries(2)
    assert [2, 3] == [old[0].severity, new[0].severity]
    changes = [(found.id, found.document()["change"]) for found in differences(old, new)]
    assert changes == [(number, "changed"), (other, "removed"), (third, "added")]
    with pytest.raises(UnknownVersion):
        await books.versions.entries(3)


async def test_a_version_that_cannot_be_built_is_not_frozen(books: Books) -> None:
    """Nobody can publish what no worker can use."""
    broken = entry("(a", match=Match.REGEX, direction=Direction.IN)
    with pytest.raises(EntryInvalid):
        await books.versions.freeze([broken], "test", "tester")
    assert await books.versions.page(9) == []


def log(*rows: tuple[int, str]) -> list[Release]:
    return [Release(number, n, Kind(kind), 7) for number, (n, kind) in enumerate(rows, 1)]


@pytest.mark.parametrize(
    ("rows", "live", "before", "canary"),
    [
        ([], None, None, None),
        ([(1, "publish")], 1, None, None),
        ([(1, "publish"), (2, "publish")], 2, 1, None),
        ([(1, "publish"), (2, "publish"), (3, "publish"), (2, "rollback")], 2, 1, None),
        ([(1, "publish"), (2, "publish"), (2, "canary")], 2, 1, 2),
        ([(1, "publish"), (2, "canary")], 1, None, 2),
        ([(1, "publish"), (2, "canary"), (1, "rollback")], 1, None, None),
        ([(1, "publish"), (2, "canary"), (2, "publish")], 2, 1, None),
        ([(1, "publish"), (2, "publish"), (1, "rollback"), (3, "publish")], 3, 1, None),
        ([(1, "publish"), (2, "publish"), (1, "publish")], 1, 2, None),
    ],
)
def test_what_is_live_follows_from_the_log(
    rows: Sequence[tuple[int, str]], live: int | None, before: int | None, canary: int | None
) -> None:
    """Publications stand on each other, a rollback takes the top away, a canary ends with the next row."""
    found = standing(log(*rows))
    assert (live, before, canary, len(rows)) == (found.live, found.before, found.canary, found.newest)
    assert found.number == max((n for n, (_, kind) in enumerate(rows, 1) if kind != "canary"), default=0)


async def test_rollback_leads_back_step_by_step(books: Books) -> None:
    """Each rollback goes one publication further back, until there is none."""
    for term in ("一号", "二号", "三号"):
        await books.add(term)
        await books.versions.publish(await books.freeze(), "test", "tester")
    for expected in (2, 1):
        await books.versions.rollback("test", "tester")
        assert (await books.versions.standing()).live == expected
    with pytest.raises(NotNow):
        await books.versions.rollback("test", "tester")
    with pytest.raises(NotNow):
        await books.versions.publish(1, "test", "tester")
    with pytest.raises(UnknownVersion):
        await books.versions.publish(9, "test", "tester")


async def test_the_very_first_start(books: Books) -> None:
    """The starter library becomes draft, version 1 and the live one, once."""
    for _ in range(2):
        await ensure_first(books.store, books.versions, lambda: [entry("毒药"), entry("炸药")])
    assert [1] == [found["n"] for found in await books.versions.page(9)]
    assert (await books.versions.standing()).live == 1
    for found in await books.store.entries():
        await books.store.delete(found.id)
    await ensure_first(books.store, books.versions, lambda: [entry("毒药")])
    assert await books.store.entries() == ()


async def test_a_file_of_others_only_observes(books: Books) -> None:
    """A list's own actions and measurements do not count, unless somebody says why."""
    theirs = [entry("毒药", benign_hits=0), entry("炸药")]
    data = b"".join(written(theirs, "csv"))
    done = await take_in(books.store, data, name="a.csv", risk="A1b", by="me")
    assert (2, 0) == (done["added"], done["rejected"])
    assert {(Action.OBSERVE, None)} == {(found.action, found.benign_hits) for found in await books.store.entries()}
    kept = [entry("毒气", benign_hits=0)]
    await take_in(books.store, b"".join(written(kept, "csv")), name="a.csv", risk="A1b", keep_actions="our own")
    found = (await books.store.entries())[-1]
    assert (Action.BLOCK, 0, "forced: our own") == (found.action, found.benign_hits, found.note)


async def test_bad_rows_are_told(books: Books) -> None:
    """A bad row keeps no other row out; a bad file is refused by name."""
    data = "term,match,direction\n毒药,,\n(a,regex,in\n。,,\n".encode()
    done = await take_in(books.store, data, name="a.csv", risk="A1b")
    assert (1, 2, 2) == (done["added"], done["rejected"], len(done["rejected_rows"]))
    for arguments, field in (({"name": "a.csv", "risk": "A1b"}, "body"), ({"name": "a.txt", "risk": "zz"}, "risk")):
        with pytest.raises(EntryInvalid) as caught:
            await take_in(books.store, b"colour\nred\n", **arguments)
        assert field == caught.value.field


def test_a_written_file_is_read_again() -> None:
    """What is exported in parts is one file that can be imported."""
    entries = [entry(f"词{number}号") for number in range(2_500)]
    found = read(b"".join(written(entries, "csv")), name="a.csv", risk="A1b", keep_actions=True)
    assert [e.term for e in entries] == [e.term for e in found.entries] and not found.rejected
    assert len(b"".join(written(entries, "jsonl")).splitlines()) == 2_500


async def test_whose_action_is_a_decision(books: Books) -> None:
    """That of who enters or changes one entry, and that of the starter words that only observe; of a list nobody's."""
    chosen = await books.add("毒药")
    starters = [entry("炸药", action=Action.JUDGE), entry("炸弹", action=Action.OBSERVE)]
    await books.store.add_all(starters, Origin.STARTER)
    await books.store.add_all([entry("农药"), entry("火药", action=Action.OBSERVE)], Origin.IMPORT)
    ids = {record["term"]: record["id"] for record in await books.store.page(9)}
    assert {chosen, ids["炸弹"]} == await books.store.decided()
    await books.store.change(ids["农药"], {"severity": 3})
    await books.store.change(ids["火药"], {"action": Action.OBSERVE})
    assert {chosen, ids["炸弹"], ids["火药"]} == await books.store.decided()


async def test_decisions_of_older_versions_are_known(new_database: Settings) -> None:
    """From where the entries came, and from the draft's log."""
    async with sql.opened(new_database) as engine:
        store = KeywordStore(engine)
        await store.create(entry("毒药"))
        await store.add_all([entry("药丸", source="mined", action=Action.JUDGE)], Origin.HAND)
        await store.add_all([entry("炸药", action=Action.JUDGE), entry("炸弹", action=Action.OBSERVE)], Origin.STARTER)
        await store.add_all([entry("农药"), entry("火药"), entry("丹药")], Origin.IMPORT)
        ids = {record["term"]: record["id"] for record in await store.page(9)}
        await store.change(ids["火药"], {"action": Action.OBSERVE})
        await store.change(ids["丹药"], {"severity": 3})
        async with engine.begin() as connection:
            await connection.run_sync(migrate, "0007_priority")
            await connection.run_sync(migrate, "head")
        assert {ids[term] for term in ("毒药", "炸弹", "火药")} == await store.decided()
