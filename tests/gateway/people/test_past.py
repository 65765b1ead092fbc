"""What happened to people, as admins read it: from a real log, through the index."""

from typing import Any

from gateway.audit.index import Index
from gateway.people.aliases import Row
from gateway.people.directory import person_id
from gateway.people.past import Past
from policies.strikes import UNTIL_LIFTED
from tests.following import follow
from tests.gateway.people.conftest import World, away

ANN, ANNIE = person_id("t", "ann"), person_id("t", "annie")


async def told(world: World, person: str = ANN) -> list[dict[str, Any]]:
    """Index the log, and return what happened."""
    await follow(world.engine, world.root, Index())
    found, after = await Past(world.engine).page(person, 100)
    assert after is None
    return found


async def test_suspensions_lifts_and_bans_are_told(world: World) -> None:
    """Who, why, when, how long, at which level, and the turn that brought it."""
    await world.people.look_up("t", "ann")
    await world.say(ANN, "a", "b", "c")
    await world.people.lift(ANN, "a mistake", "eve")
    await world.people.suspend(ANN, UNTIL_LIFTED, "rude", "bob")
    await world.people.ban(ANN, 4_000_000_000, "very rude", "bob")
    await world.people.unban(ANN, "enough", "eve")
    unban, ban, by_hand, lift, struck = await told(world)
    assert (struck["kind"], struck["why"], struck["level"], struck["by"]) == ("suspend", "in_a_row", 1, "")
    assert struck["until"] - struck["at"] == 86_400
    assert len(struck["content_id"]) == 24
    assert (lift["kind"], lift["by"], lift["reason"], lift["level"]) == ("lift", "eve", "a mistake", 1)
    assert (by_hand["why"], by_hand["until"], by_hand["level"], by_hand["applied"]) == ("by_hand", None, 1, True)
    assert (ban["kind"], ban["until"], ban["reason"], ban["by"]) == ("ban", 4_000_000_000, "very rude", "bob")
    assert (unban["kind"], unban["applied"], unban["level"]) == ("unban", True, None)
    assert [one["person"] for one in (struck, ban)] == [ANN, ANN]


async def test_what_an_alias_did_before_is_told_of_the_person(world: World) -> None:
    """Under its own id; and so is that it became one."""
    await world.people.look_up("t", "annie")
    await world.people.ban(ANNIE, None, "r", "eve")
    await world.people.unban(ANNIE, "r", "eve")
    await world.services.aliases.add(Row("t", "annie", "ann"), "two apps", "eve")
    found = await told(world)
    assert [(one["kind"], one["person"], one["alias"]) for one in found] == [
        ("alias", ANN, ANNIE),
        ("unban", ANNIE, None),
        ("ban", ANNIE, None),
    ]


async def test_what_waits_is_not_applied_yet(world: World) -> None:
    """With the state server away it is on record, and done later."""
    await world.people.look_up("t", "ann")
    await world.over(away()).measures.suspend(ANN, UNTIL_LIFTED, "rude", "eve")
    [one] = await told(world)
    assert (one["kind"], one["applied"], one["level"]) == ("suspend", False, None)


async def test_pages_join_to_the_whole(world: World) -> None:
    """Of what stands in turns and in events together."""
    await world.people.look_up("t", "ann")
    for word in "abc":
        await world.say(ANN, *(f"{word}{i}" for i in range(3)))
        await world.people.lift(ANN, "r", "eve")
    whole = await told(world)
    assert len(whole) == 6
    past, after, found = Past(world.engine), None, []
    while True:
        part, after = await past.page(ANN, 2, after)
        found += part
        if after is None:
            break
    assert found == whole
    shown = await world.services.roster.show(ANN)
    assert shown["events"] == whole


async def test_what_was_done_just_now_is_the_newest(world: World) -> None:
    """Before the index has heard of it, as it is told afterwards, and never twice."""
    await world.people.look_up("t", "ann")
    await world.people.suspend(ANN, UNTIL_LIFTED, "rude", "eve")
    done = await world.people.lift(ANN, "a mistake", "eve")
    [before] = (await world.services.roster.show(ANN, done))["events"]
    after = await told(world)
    assert ["lift", "suspend"] == [one["kind"] for one in after]
    assert after == (await world.services.roster.show(ANN, done))["events"]
    assert {**after[0], "record": None} == before
