"""People as admins look at them."""

import csv
import io
from typing import Any

import pytest

from gateway.people.aliases import Row
from gateway.people.directory import person_id
from gateway.people.errors import StandingsAway
from gateway.people.roster import COLUMNS, Roster, Wanted, standing
from policies.strikes import DAY_MS, IN_A_ROW, UNTIL_LIFTED, Rule, State
from tests.gateway.people.conftest import World, away

NOON = 1_764_000_000_000 // DAY_MS * DAY_MS + 4 * 3_600_000
TODAY = (NOON + 8 * 3_600_000) // DAY_MS
NAMES = ("ann", "Annabel", "bob", "100%_sure", "王小明")


@pytest.fixture
async def roster(world: World) -> Roster:
    """A roster of some people; bob is banned, Annabel has a row, ann is suspended."""
    ids = {name: await world.people.look_up("t", name) for name in NAMES}
    await world.people.look_up("other", "ann")
    await world.people.ban(ids["bob"], None, "r", "eve")
    await world.people.exempt(ids["王小明"], None, "r", "eve")
    await world.say(ids["Annabel"], "a")
    await world.people.suspend(ids["ann"], UNTIL_LIFTED, "r", "eve")
    found: Roster = world.services.roster
    return found


async def users(roster: Roster, **wanted: Any) -> list[str]:
    return sorted(one["user"] for one in await roster.page(Wanted(**wanted), 100))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"q": "ANN"}, ["Annabel", "ann", "ann"]),
        ({"q": "ann", "tenant": "other"}, ["ann"]),
        ({"q": "小明"}, ["王小明"]),
        ({"q": "%_"}, ["100%_sure"]),
        ({"state": "banned"}, ["bob"]),
        ({"state": "exempt"}, ["王小明"]),
        ({"state": "suspended"}, ["ann"]),
        ({"state": "suspended", "q": "bob"}, []),
        ({"state": "row"}, ["Annabel"]),
    ],
)
async def test_search(roster: Roster, wanted: dict[str, Any], expected: list[str]) -> None:
    """By a part of the name, the tenant, and where people stand."""
    assert await users(roster, **wanted) == expected


@pytest.mark.parametrize("state", [None, "suspended"])
async def test_pages(world: World, state: Any) -> None:
    """Pages join without a gap; whoever is suspended is listed before the tables have heard of them."""
    for i in range(7):
        person = person_id("t", f"p{i}")
        await world.say(person, "a", "b", "c")
        if state is None:
            await world.people.main(person)
    found, after = [], ""
    while page := await world.services.roster.page(Wanted(state=state), 3, after):
        found += [one["id"] for one in page]
        after = found[-1]
    assert found == sorted(person_id("t", f"p{i}") for i in range(7))


async def test_a_page_of_a_person(world: World, roster: Roster) -> None:
    """Where they stand, and who says so."""
    shown = await roster.show(person_id("t", "ann"))
    assert (shown["standing"]["suspended"], shown["standing"]["why"]) == (True, "by_hand")
    assert shown["links"] == {what: f"/admin/people/{shown['id']}/{what}" for what in ("history", "events")}
    banned = await roster.show(person_id("t", "bob"))
    assert (banned["ban"]["made_by"], banned["ban"]["until"], banned["standing"]["suspended"]) == ("eve", None, False)
    assert (await world.over(away()).roster.show(shown["id"]))["standing"] is None
    with pytest.raises(StandingsAway):
        await world.over(away()).roster.page(Wanted(state="suspended"), 9)


async def test_an_alias_has_no_standing_of_its_own(world: World, roster: Roster) -> None:
    """It is found by its name, with the person's standing, and is not listed among the suspended."""
    await world.say(person_id("t", "annie"), "a", "b", "c")
    await world.services.aliases.add(Row("t", "annie", "bob"), "r", "eve")
    [alias] = await roster.page(Wanted(q="annie"), 9)
    [bob] = await roster.page(Wanted(q="bob"), 9)
    assert (alias["alias_of"], alias["standing"]) == (bob["id"], bob["standing"])
    assert alias["standing"]["suspended"]
    assert await users(roster, state="suspended") == ["ann", "bob"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State(), {"row": 0, "today": 0, "level": 0, "suspended": False, "suspended_until": None, "why": None}),
        (State(row=2, today=2, day=TODAY, last=NOON), {"row": 2, "today": 2, "suspended": False}),
        (State(row=1, today=2, day=TODAY - 1, last=NOON), {"row": 1, "today": 0}),
        (
            State(until=NOON + 5_000, level=1, last=NOON, why=IN_A_ROW),
            {"suspended": True, "suspended_until": NOON // 1_000 + 5, "why": "in_a_row", "level": 1},
        ),
        (State(until=NOON, level=1, last=NOON, why=IN_A_ROW), {"suspended": False, "why": None, "level": 1}),
        (State(until=UNTIL_LIFTED, level=3, last=1, why=IN_A_ROW), {"suspended": True, "suspended_until": None}),
        (State(level=3, last=NOON - 31 * DAY_MS), {"level": 0}),
    ],
)
def test_a_standing_is_what_it_is_now(state: State, expected: dict[str, Any]) -> None:
    """Yesterday's violations are not today's; what is over or has decayed is not shown."""
    found = standing(state, Rule(), NOON)
    assert {name: found[name] for name in expected} == expected


async def test_a_table_runs_nothing(world: World, roster: Roster) -> None:
    """Everybody is in it once, and no cell is a formula."""
    await world.people.look_up("t", "=cmd()")
    data = b"".join([part async for part in roster.table(Wanted())])
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert tuple(rows[0]) == COLUMNS
    by_name = {row["user"]: row for row in rows if row["tenant"] == "t"}
    assert set(by_name) == {*NAMES, "'=cmd()"}
    assert (by_name["bob"]["banned_until"], by_name["ann"]["suspended_until"]) == ("no end", "no end")


async def test_a_long_table_comes_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left out between two parts."""
    monkeypatch.setattr("gateway.people.roster.CHUNK", 2)
    for i in range(5):
        await world.people.look_up("t", f"p{i}")
    parts = [part async for part in world.services.roster.table(Wanted())]
    assert len(parts) == 3
    assert b"".join(parts).count(b"\r\n") == 6
