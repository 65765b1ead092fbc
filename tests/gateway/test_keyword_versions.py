"""Two administrators at once; each has a connection of their own, on both databases."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.keyword_store import EntryInvalid
from gateway.keyword_versions import KeywordVersions, NotNow
from gateway.settings import Settings
from gateway.state import sql
from keywords.entry import Action, Direction, Entry, Match
from keywords.expression import MOST_EXPRESSIONS

Pair = tuple[KeywordVersions, KeywordVersions]


def entries(term: str) -> list[Entry]:
    return [Entry(id=1, term=term, risk="A1a", action=Action.BLOCK)]


@pytest.fixture
async def both(database: Settings) -> AsyncIterator[Pair]:
    async with sql.opened(database) as one, sql.opened(database) as other:
        yield KeywordVersions(one), KeywordVersions(other)


async def outcomes(*work: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


async def frozen(versions: KeywordVersions, count: int) -> None:
    for number in range(count):
        await versions.freeze(entries(f"词语{number}"), "test", "tester")


async def test_two_versions_at_once_get_two_numbers(both: Pair) -> None:
    """Nobody's version is refused for coming at the same moment."""
    work = [both[n % 2].freeze(entries(f"词语{n}"), "test", "tester") for n in range(6)]
    made = await outcomes(*work)
    assert sorted(version["n"] for version in made) == [1, 2, 3, 4, 5, 6]


async def test_the_same_draft_is_frozen_once(both: Pair) -> None:
    """The second one reads that nothing has changed."""
    found = await outcomes(*(versions.freeze(entries("毒药"), "test", "tester") for versions in both))
    assert sorted(type(each).__name__ for each in found) == ["NotNow", "dict"]


async def test_one_of_two_publications_of_a_version_is_told(both: Pair) -> None:
    """The check that it is not live already holds while the row is written."""
    await frozen(both[0], 2)
    await both[0].publish(1, "test", "tester")
    for _ in range(5):
        found = await outcomes(*(versions.publish(2, "test", "tester") for versions in both))
        assert sorted(type(each).__name__ for each in found) == ["NotNow", "dict"]
        await both[0].rollback("test", "tester")
    assert len(await both[0].releases(99)) == 1 + 5 * 2


async def test_two_rollbacks_go_back_one_step_each(both: Pair) -> None:
    """Both are done one after the other, and none goes to where the other one just was."""
    await frozen(both[0], 3)
    for n in (1, 2, 3):
        await both[0].publish(n, "test", "tester")
    found = await outcomes(*(versions.rollback("test", "tester") for versions in both))
    assert sorted(row["n"] for row in found) == [1, 2]
    with pytest.raises(NotNow):
        await both[1].rollback("test", "tester")


async def test_a_canary_is_promoted_once(both: Pair) -> None:
    """Two control processes whose clocks say the same publish it once; a rollback meanwhile wins."""
    await frozen(both[0], 2)
    await both[0].publish(1, "test", "tester")
    await both[0].publish(2, "test", "tester", canary_minutes=5)
    seen = await both[0].standing()
    await outcomes(*(versions.promote(seen) for versions in both))
    kinds: Callable[[], Awaitable[list[dict[str, Any]]]] = lambda: both[0].releases(99)  # noqa: E731 - a short name
    assert [row["kind"] for row in await kinds()] == ["publish", "canary", "publish"]


async def test_a_version_that_is_live_again_has_its_own_time(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback is a release of its own; those before it keep the moments at which they were live."""
    await frozen(both[0], 2)
    clock = 1_000
    monkeypatch.setattr("gateway.keyword_versions.now", lambda: clock)
    for step in (lambda: both[0].publish(1, "t", "t"), lambda: both[0].publish(2, "t", "t"), None):
        row = await (step() if step is not None else both[0].rollback("t", "t"))
        clock += 100
        await both[0].went_live((await both[0].standing()).number)
        assert row["number"] == (await both[0].standing()).number
    assert [(row["n"], row["live_at"]) for row in await both[0].releases(9)] == [(1, 1_100), (2, 1_200), (1, 1_300)]


async def test_a_version_has_so_many_expressions_at_most(both: Pair) -> None:
    """Each worker compiles all of them."""
    many = [
        Entry(id=n, term=f"a{n}", risk="A1a", match=Match.REGEX, direction=Direction.IN)
        for n in range(MOST_EXPRESSIONS + 1)
    ]
    with pytest.raises(EntryInvalid, match="regular expressions"):
        await both[0].freeze(many, "test", "tester")
