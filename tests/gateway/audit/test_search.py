"""Finding turns, on both databases."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit import search as module
from gateway.audit.entries import Admin
from gateway.audit.search import EventFilter, Filter, Page, Place, QueryTooShort, Search
from tests.gateway.audit.indexing import NOW, begin, end, index, kept, refusal


@pytest.fixture
async def search(engine: AsyncEngine) -> Search:
    """Six turns, a second between two."""
    at = [NOW + i * 1000 for i in range(6)]
    await index(
        engine,
        begin("a", at[0], words=kept("今天天气很好"), model="m1"),
        begin("b", at[1], words=kept("如何制造炸弹"), verdict=refusal(7), person="q", user="v"),
        begin("c", at[2], words=kept("弹道与炸药"), verdict=refusal(17, "A2a"), key="k2"),
        begin("d", at[3]),
        begin("e", at[4], words=kept("ABC Def")),
        end("a", at[0]),
        end("b", at[1], outcome="refused"),
        end("c", at[2], outcome="refused"),
        end("e", at[4], outcome="cut", answer=kept("可以用炸弹"), verdict=refusal(7)),
        begin("f", at[5], person=""),
        end("f", at[5], outcome="engine_error"),
    )
    return Search(engine)


async def found(search: Search, **wanted: Any) -> str:
    return "".join(row.id for row in (await search.page(Filter(**wanted), 100)).turns)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "fedcba"),
        ({"since": NOW + 2000}, "fedc"),
        ({"since": NOW + 1000, "until": NOW + 3000}, "cb"),
        ({"people": ["q"]}, "b"),
        ({"people": ["p", "q"]}, "edcba"),
        ({"people": []}, ""),
        ({"user": "v"}, "b"),
        ({"keys": ["k2"]}, "c"),
        ({"keys": []}, ""),
        ({"model": "m1"}, "a"),
        ({"verdict": "refuse"}, "ecb"),
        ({"verdict": "pass"}, "fda"),
        ({"outcome": "cut"}, "e"),
        ({"outcome": "unfinished"}, "d"),
        ({"risk": "A2a"}, "c"),
        ({"entry": 7}, "eb"),
        ({"entry": 1}, ""),
        ({"entry": 7, "text": "炸弹", "outcome": "refused"}, "b"),
        ({"mark": "upheld"}, ""),
        ({"kept": "answer"}, "e"),
        ({"kept": "words"}, "ecba"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else value,
)
async def test_filters(search: Search, wanted: dict[str, Any], expected: str) -> None:
    """Each alone, and together; the newest first."""
    assert await found(search, **wanted) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("炸弹", "eb"),
        ("制造炸弹", "b"),
        ("天气", "a"),
        ("弹炸", ""),
        ("abc", "e"),
        ("ＡＢＣ　ＤＥＦ", "e"),
        ('"; --', ""),
    ],
)
async def test_text(search: Search, text: str, expected: str) -> None:
    """In words and answers, from two characters on, in any of the forms that mean the same."""
    assert await found(search, text=text) == expected


async def test_one_character_is_too_short(search: Search) -> None:
    """Also one that a fold leaves of two."""
    for text in ("炸", "", "e\u0301"):
        with pytest.raises(QueryTooShort):
            await found(search, text=text)


@pytest.mark.parametrize(
    "wanted", [Filter(), Filter(text="炸弹"), Filter(people=["p", "q"])], ids=["all", "text", "people"]
)
async def test_pages_join_to_the_whole(search: Search, wanted: Filter) -> None:
    """No turn twice, and none left out."""
    whole = [row.id for row in (await search.page(wanted, 100)).turns]
    after: Place | None = None
    names: list[str] = []
    while True:
        page: Page = await search.page(wanted, 1, after)
        names += [row.id for row in page.turns]
        after = page.after
        if after is None:
            break
    assert names == whole


async def test_turns_of_one_moment_are_all_listed(engine: AsyncEngine) -> None:
    """Their number tells them apart."""
    await index(engine, *(begin(f"t{i}") for i in range(10)))
    search = Search(engine)
    first = await search.page(Filter(), 6)
    second = await search.page(Filter(), 6, first.after)
    assert len({row.id for row in [*first.turns, *second.turns]}) == 10
    assert second.after is None


async def test_a_page_of_a_text_ends_where_too_many_were_looked_at(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one goes on behind, and all are found in the end."""
    monkeypatch.setattr(module, "LOOKED_AT", 5)
    monkeypatch.setattr(module, "MOST_LOOKED_AT", 10)
    await index(engine, begin("x", words=kept("中国人民")))
    await index(engine, *(begin(f"t{i}", words=kept("国人，中国，人民")) for i in range(30)))
    search, after, pages = Search(engine), None, 0
    names: list[str] = []
    while True:
        page = await search.page(Filter(text="中国人民"), 10, after)
        names += [row.id for row in page.turns]
        pages, after = pages + 1, page.after
        if after is None:
            break
    assert names == ["x"]
    assert pages > 3


async def test_every_turn_in_parts(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or so many of the newest."""
    monkeypatch.setattr(module, "EXPORTED", 4)
    await index(engine, *(begin(f"t{i}", NOW + i) for i in range(10)))
    search = Search(engine)
    parts = [[row.id for row in part] async for part in search.every(Filter())]
    assert [len(part) for part in parts] == [4, 4, 2]
    assert parts[0][0] == "t9"
    newest = [row.id async for part in search.every(Filter(), 6) for row in part]
    assert newest == [f"t{i}" for i in range(9, 3, -1)]


async def test_one_turn(search: Search) -> None:
    """By its content id."""
    row = await search.turn("b")
    assert row is not None
    assert row.words_text == "如何制造炸弹"
    assert await search.turn("nobody's") is None


async def test_turns_of_people(search: Search) -> None:
    """All ids of a person together."""
    page = await search.turns_of(["p", "q"], 3)
    assert [row.id for row in page.turns] == ["e", "d", "c"]
    assert [row.id for row in (await search.turns_of(["p", "q"], 3, page.after)).turns] == ["b", "a"]


async def test_events(engine: AsyncEngine) -> None:
    """By kind, admin, action, target and time."""
    made = [Admin(at=NOW + i, admin=f"a{i % 2}", action="x", target=str(i)) for i in range(4)]
    await index(engine, *made)
    search = Search(engine)
    assert [event.target for event in await search.events(EventFilter(), 10)] == ["3", "2", "1", "0"]
    assert [event.target for event in await search.events(EventFilter(by="a1", since=NOW + 2), 10)] == ["3"]
    first = await search.events(EventFilter(kind="admin"), 2)
    assert [e.target for e in await search.events(EventFilter(), 10, first[-1].number)] == ["1", "0"]
