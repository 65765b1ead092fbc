"""What a measurement writes, while others go on editing; on both databases."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.keyword_changes import Edit
from gateway.keyword_measures import Written, store_actions, store_hits
from gateway.keyword_store import EntryInvalid, KeywordStore, Origin
from gateway.settings import Settings
from gateway.state import sql
from keywords.calibration import FEWEST_TEXTS
from keywords.entry import Action, Boundary, Entry, Match


@pytest.fixture
async def store(database: Settings) -> AsyncIterator[KeywordStore]:
    async with sql.opened(database) as engine:
        yield KeywordStore(engine)


async def imported(store: KeywordStore, *terms: str) -> list[Entry]:
    await store.add_all([Entry(id=0, term=term, risk="A1a") for term in terms], Origin.IMPORT)
    return list(await store.entries())


async def shown(store: KeywordStore, entry: Entry) -> tuple[Any, ...]:
    found = await store.get(entry.id)
    return found["action"], found["benign_hits"], found["benign_texts"]


async def test_a_measurement_is_stored_with_its_size(store: KeywordStore) -> None:
    """Both counts are shown; what was never measured has neither."""
    first, second = await imported(store, "毒药", "炸药")
    assert await shown(store, first) == ("observe", None, None)
    done = await store_hits(store, [first, second], {first.id: 3}, 2_000)
    assert done == Written(written=2)
    assert await shown(store, first) == ("observe", 3, 2_000) and await shown(store, second) == ("observe", 0, 2_000)


async def test_few_texts_are_no_measurement(store: KeywordStore) -> None:
    """An imported entry neither judges nor blocks after one harmless text, whoever asks for it."""
    [entry] = await imported(store, "毒药")
    for texts in (1, FEWEST_TEXTS - 1):
        await store_hits(store, [entry], {}, texts)
        for action in (Action.JUDGE, Action.BLOCK):
            with pytest.raises(EntryInvalid, match=f"fewer than {FEWEST_TEXTS}"):
                await store.change(entry.id, {"action": action})
            assert await store_actions(store, [entry], {entry.id: action}) == Written(kept=1)
    await store_hits(store, [entry], {}, FEWEST_TEXTS)
    assert (await store.change(entry.id, {"action": Action.BLOCK}))["action"] == "block"


async def test_a_reason_overrules_the_size(store: KeywordStore) -> None:
    """The reason stays in the note."""
    [entry] = await imported(store, "毒药")
    await store_hits(store, [entry], {}, 1)
    assert (await store_actions(store, [entry], {entry.id: Action.BLOCK}, Edit("me", "ticket 1"))).written == 1
    found = await store.get(entry.id)
    assert ("block", "forced: ticket 1") == (found["action"], found["note"])


async def test_a_smaller_sample_does_not_take_the_place_of_a_larger_one(store: KeywordStore) -> None:
    """Unless it is forced to; an equal one does."""
    [entry] = await imported(store, "毒药")
    await store_hits(store, [entry], {entry.id: 5}, 2_000)
    assert await store_hits(store, [entry], {}, 10) == Written(kept=1)
    assert await shown(store, entry) == ("observe", 5, 2_000)
    assert await store_actions(store, [entry], {entry.id: Action.JUDGE}, texts=10) == Written(kept=1)
    await store_hits(store, [entry], {entry.id: 1}, 2_000)
    assert await shown(store, entry) == ("observe", 1, 2_000)
    await store_hits(store, [entry], {}, 10, force=True)
    assert await shown(store, entry) == ("observe", 0, 10)


async def test_another_term_needs_another_measurement_of_any_size(store: KeywordStore) -> None:
    """What was measured before the term was changed does not stand in the way."""
    [entry] = await imported(store, "毒药")
    await store_hits(store, [entry], {}, 5_000)
    await store.change(entry.id, {"term": "炸药"})
    assert await shown(store, entry) == ("observe", None, None)
    changed = await store.entry(entry.id)
    assert (await store_hits(store, [changed], {}, 10)).written == 1


@pytest.mark.parametrize(
    "change", [{"term": "炸药"}, {"exceptions": ("毒药片",)}, {"match": Match.EXACT}, {"boundary": Boundary.NONE}]
)
async def test_what_was_changed_meanwhile_keeps_its_own_state(store: KeywordStore, change: dict[str, Any]) -> None:
    """Neither the count nor the action of the entry that was measured is written into another one."""
    first, second = await imported(store, "毒药", "农药")
    await store.change(first.id, change)
    assert await store_hits(store, [first, second], {}, 2_000) == Written(written=1, skipped=1)
    done = await store_actions(store, [first, second], {first.id: Action.BLOCK, second.id: Action.BLOCK})
    assert done == Written(written=1, skipped=1)
    assert (await shown(store, first))[0] == "observe" and (await shown(store, first))[1] is None


async def test_a_change_between_the_look_and_the_write(store: KeywordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed at the last moment is skipped as well; so is what was taken out."""
    first, second, third = await imported(store, "毒药", "农药", "火药")
    from gateway import keyword_measures  # noqa: PLC0415 - its own look is replaced

    look = keyword_measures._rows

    async def late(*arguments: Any) -> Any:
        rows = await look(*arguments)
        await store.change(first.id, {"note": "just now"})
        await store.delete(second.id)
        return rows

    monkeypatch.setattr(keyword_measures, "_rows", late)
    assert await store_hits(store, [first, second, third], {}, 2_000) == Written(written=1, skipped=2)


async def test_somebody_elses_decision_stands(store: KeywordStore) -> None:
    """An action that was chosen while the texts were measured is not undone by the proposal."""
    [entry] = await imported(store, "毒药")
    await store_hits(store, [entry], {}, 2_000)
    await store.change(entry.id, {"action": Action.JUDGE})
    assert await store_actions(store, [entry], {entry.id: Action.BLOCK}) == Written(kept=1)
    assert (await store.get(entry.id))["action"] == "judge"


async def test_a_change_does_not_undo_a_measurement(store: KeywordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes a note while a count is stored keeps both."""
    [entry] = await imported(store, "毒药")
    row, times = store._row, []

    async def slow(number: int) -> Any:
        found = await row(number)
        times.append(number)
        if len(times) == 1:
            await store_hits(store, [entry], {entry.id: 4}, 2_000)
        return found

    monkeypatch.setattr(store, "_row", slow)
    await store.change(entry.id, {"note": "x"})
    found = await store.get(entry.id)
    assert (4, "x") == (found["benign_hits"], found["note"])


async def test_times_beyond_2038_are_kept(store: KeywordStore) -> None:
    """Seconds since 1970 outgrow 32 bits."""
    made = await store.create(Entry(id=0, term="毒药", risk="A1a", expires_at=253_402_300_799))
    assert made["expires_at"] == 253_402_300_799
