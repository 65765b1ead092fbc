"""Several names of one person."""

from typing import Any

import pytest

from gateway.people.aliases import Aliases, Became, Row, UnknownAlias, judged
from gateway.people.directory import person_id
from gateway.people.errors import MeasureRefused, StandingsAway
from gateway.relay.identity import Person
from policies.strikes import BY_HAND, GOOD, UNTIL_LIFTED
from tests.gateway.people.conftest import World, away

ANN, ANNIE, BOB = (person_id("t", name) for name in ("ann", "annie", "bob"))
ROW = Row("t", "annie", "ann")


def aliases(world: World) -> Aliases:
    return world.services.aliases


@pytest.mark.parametrize(
    ("row", "field", "words"),
    [
        (Row("t", "ann", "ann"), "alias", "own name"),
        (Row("t", "annie", "bob"), "alias", "of `ann` already"),
        (Row("t", "bob", "annie"), "user", "alias itself, of `ann`"),
        (Row("t", "ann", "bob"), "alias", "aliases of its own"),
        (Row("t", "carl", "bob"), "alias", "banned or exempt"),
    ],
)
def test_no_chains_no_circles(row: Row, field: str, words: str) -> None:
    """What would make an alias of an alias is refused, naming the field."""
    entered = judged(row, {ANNIE: ANN}, {ANN: "ann"}, {person_id("t", "carl")})
    assert (Became.REFUSED, field, True) == (entered.became, entered.field, words in entered.reason)


def test_what_is_there_stays_and_tenants_are_apart() -> None:
    """The same row again changes nothing; the same names of another tenant are others."""
    assert judged(ROW, {ANNIE: ANN}, {ANN: "ann"}, set()).became is Became.UNCHANGED
    assert judged(Row("u", "annie", "bob"), {ANNIE: ANN}, {ANN: "ann"}, set()).became is Became.ADDED


async def test_an_alias_speaks_for_the_person(world: World) -> None:
    """The workers know, the log tells, both can be found; until it is removed."""
    made, new = await aliases(world).add(ROW, "two apps", "eve")
    assert (made["alias"], made["person"], made["alias_name"], new) == (ANNIE, ANN, "annie", True)
    assert not (await aliases(world).add(ROW, "two apps", "eve"))[1]
    assert world.directory.id_of(Person("t", "annie")) == ANN
    assert world.told() == [("alias", ANN), ("done alias", ANN)]
    assert [one["user"] for one in (await world.services.roster.show(ANN))["aliases"]] == ["annie"]
    assert await world.people.main(ANNIE) == ANN
    await aliases(world).remove(ANNIE, "wrong", "eve")
    assert world.directory.id_of(Person("t", "annie")) == ANNIE
    with pytest.raises(UnknownAlias):
        await aliases(world).remove(ANNIE, "wrong", "eve")


async def test_what_is_done_to_an_alias_is_done_to_the_person(world: World) -> None:
    """A ban of the one is a ban of the other."""
    await aliases(world).add(ROW, "r", "eve")
    assert (await world.people.ban(ANNIE, None, "r", "eve")).person == ANN
    assert (await world.people.suspend(ANNIE, UNTIL_LIFTED, "r", "eve")).person == ANN
    assert (await world.services.register.document())["bans"] == {ANN: {}}


async def test_whoever_is_banned_becomes_no_alias(world: World) -> None:
    """Else the ban would be lost."""
    await world.people.look_up("t", "annie")
    await world.people.ban(ANNIE, None, "r", "eve")
    with pytest.raises(MeasureRefused) as refused:
        await aliases(world).add(ROW, "r", "eve")
    assert (refused.value.field, refused.value.conflict) == ("alias", True)


async def test_strikes_stay_with_the_name_and_a_suspension_goes_over(world: World) -> None:
    """The person is suspended as the alias was, has none of its strikes, and a replay gives the same."""
    await world.say(ANN, "a")
    await world.say(ANNIE, "a", "b", "c")
    await world.people.lift(ANNIE, "r", "eve")
    await world.say(ANNIE, "d", "e", "f")
    alias = await world.state(ANNIE)
    await aliases(world).add(ROW, "two apps", "eve")
    found = await world.state(ANN)
    assert (found.until, found.why, found.level, found.row) == (alias.until, BY_HAND, 0, 1)
    assert await world.replayed(ANN) == found
    assert await world.state(ANNIE) == alias


async def test_whoever_is_suspended_meanwhile_stays_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the entry."""
    enter = aliases(world)._enter

    async def entered(*given: Any) -> Any:
        found = await enter(*given)
        await world.say(ANNIE, "a", "b", "c")
        return found

    monkeypatch.setattr(aliases(world), "_enter", entered)
    await aliases(world).add(ROW, "r", "eve")
    assert (await world.state(ANN)).until == (await world.state(ANNIE)).until


async def test_a_shorter_suspension_changes_nothing(world: World) -> None:
    """Of two the longer one holds."""
    await world.people.look_up("t", "ann")
    await world.people.suspend(ANN, UNTIL_LIFTED, "r", "eve")
    before = await world.state(ANN)
    await world.say(ANNIE, "a", "b", "c")
    await aliases(world).add(ROW, "r", "eve")
    assert await world.state(ANN) == before


async def test_strikes_of_an_alias_that_nobody_suspended_are_left_behind(world: World) -> None:
    """The person in good standing stays in it."""
    await world.say(ANNIE, "a", "b")
    await aliases(world).add(ROW, "r", "eve")
    assert await world.state(ANN) == GOOD
    assert await world.replayed(ANN) == GOOD


async def test_with_the_state_server_away_nobody_becomes_an_alias(world: World) -> None:
    """Whether they are suspended is not known."""
    with pytest.raises(StandingsAway):
        await world.over(away()).aliases.add(ROW, "r", "eve")
    assert world.told() == []
    assert await aliases(world).page(9) == []


async def test_many_at_once(world: World) -> None:
    """What can be entered is, in order; pages join."""
    rows = [Row("t", f"a{i}", "ann") for i in range(450)]
    rows += [Row("t", "ann", "bob"), Row("t", "b", "a3"), Row("t", "a0", "ann")]
    entered = await aliases(world).add_all(rows, "r", "eve")
    assert [one.became for one in entered[-3:]] == [Became.REFUSED, Became.REFUSED, Became.UNCHANGED]
    assert world.published == 1
    first = await aliases(world).page(400)
    rest = await aliases(world).page(400, first[-1]["alias"])
    assert (len(first), len(rest)) == (400, 50)
    assert len({one["alias"] for one in first + rest}) == 450
    assert await aliases(world).page(9, person=BOB) == []
