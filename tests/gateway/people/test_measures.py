"""What admins do about people: on record first, then done, and a replay of the log gives the same."""

import asyncio
import time

import pytest
from redis.exceptions import RedisError

from gateway.audit.entries import Applied, Person
from gateway.audit.errors import AuditUnavailable
from gateway.people.directory import person_id
from gateway.people.errors import MeasureRefused, StandingsAway, UnknownPerson
from gateway.people.ledger import Change, Changed
from gateway.people.rebuild import UNDERWAY_LOOKS, Rebuilder
from gateway.people.standing import PENDING
from policies.strikes import BY_HAND, GOOD, UNTIL_LIFTED, State
from tests.gateway.people.conftest import World, away

HOUR_MS = 3_600_000
ANN = person_id("t", "ann")


def soon() -> int:
    """Return an hour from now, in Unix milliseconds."""
    return time.time_ns() // 1_000_000 + HOUR_MS


@pytest.fixture
async def ann(world: World) -> str:
    """Somebody who was looked up."""
    return str(await world.people.look_up("t", "ann"))


async def twice_suspended(world: World, person: str) -> None:
    """Have somebody suspended a second time."""
    await world.say(person, "a", "b", "c")
    await world.people.lift(person, "r", "eve")
    await world.say(person, "d", "e", "f")
    assert (await world.state(person)).level == 2


async def test_a_suspension_and_its_lift(world: World, ann: str) -> None:
    """Both are done at once, on record with reason, name and moment, and a replay gives the same."""
    until = soon()
    done = await world.people.suspend(ann, until, "rude", "eve")
    assert (done.applied, done.state.until, done.state.why) == (True, until, BY_HAND)
    begun, ended = world.records()
    assert isinstance(begun, Person)
    assert isinstance(ended, Applied)
    assert (begun.id, begun.reason, begun.by, begun.until) == (done.id, "rude", "eve", until)
    assert (ended.id, ended.strike.after, ended.strike.seq) == (done.id, done.state, 1)
    assert await world.replayed(ann) == done.state
    lifted = await world.people.lift(ann, "sorry", "eve")
    assert not lifted.state.suspended(until - 1)
    assert await world.replayed(ann) == lifted.state
    assert world.told() == [("suspend", ann), ("done suspend", ann), ("lift", ann), ("done lift", ann)]


async def test_where_there_is_nothing_to_lift(world: World, ann: str) -> None:
    """It is refused, and not on record; a row, or a violation today, is something. Not known: it is done later."""
    with pytest.raises(MeasureRefused) as refused:
        await world.people.lift(ann, "r", "eve")
    assert (refused.value.field, refused.value.conflict, world.told()) == ("id", True, [])
    await world.say(ann, "a")
    assert (await world.people.lift(ann, "r", "eve")).state.today == 0
    await world.ledger.set(ann, State(today=1, day=1, at=1))  # of a day long ago
    with pytest.raises(MeasureRefused):
        await world.people.lift(ann, "r", "eve")
    assert not (await world.over(away()).measures.lift(ann, "r", "eve")).applied


async def test_an_upheld_appeal_gives_the_level_back_once(world: World, ann: str) -> None:
    """Also where the log is replayed."""
    await twice_suspended(world, ann)
    upheld = await world.people.uphold(ann, "a mistake", "eve", "apl_1")
    assert (upheld.state.level, upheld.state.until) == (1, 0)
    assert await world.replayed(ann) == upheld.state


async def test_with_the_state_server_away_it_is_on_record_and_done_later(world: World, ann: str) -> None:
    """The answer says so; the rebuild does it, once."""
    done = await world.over(away()).measures.suspend(ann, UNTIL_LIFTED, "rude", "eve")
    assert (done.applied, done.state) == (False, None)
    assert world.told() == [("suspend", ann), (f"done {PENDING}", ann)]
    assert await world.state(ann) == GOOD
    rebuilder = Rebuilder(world.ledger, world.root)
    assert await rebuilder.step() == 1
    assert (await world.state(ann)).until == UNTIL_LIFTED
    assert await rebuilder.step() == 0


async def test_a_process_that_is_killed_before_it_was_done(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on record without an end: after some looks the rebuild does it."""

    async def killed(_: Person) -> Change | None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.people, "_applied", killed)
    with pytest.raises(KeyboardInterrupt):
        await world.people.suspend(ann, UNTIL_LIFTED, "rude", "eve")
    rebuilder = Rebuilder(world.ledger, world.root)
    assert [await rebuilder.step() for _ in range(UNDERWAY_LOOKS + 2)].count(1) == 1
    assert (await world.state(ann)).until == UNTIL_LIFTED


async def test_a_process_that_is_killed_after_it_was_done(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not done twice: the level goes back by one."""
    await twice_suspended(world, ann)

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.people.journal, "done", killed)
    with pytest.raises(KeyboardInterrupt):
        await world.people.uphold(ann, "a mistake", "eve", "apl_1")
    rebuilder = Rebuilder(world.ledger, world.root)
    assert [await rebuilder.step() for _ in range(UNDERWAY_LOOKS + 2)].count(1) == 1
    found = await world.state(ann)
    assert (found.level, found.until) == (1, 0)


@pytest.mark.parametrize("when", ["before", "after", "told"])
@pytest.mark.parametrize("lost", [False, True])
async def test_an_appeal_that_is_decided_again_after_a_kill(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch, when: str, lost: bool
) -> None:
    """Killed before its standing was changed, after, or when even that was on record; the state *lost* since or not.

    The level goes back by one, what was said since stays, and a replay says the same.
    """
    await twice_suspended(world, ann)

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    where = {"before": (world.people, "_applied"), "after": (world.people.journal, "done")}
    with monkeypatch.context() as patched:
        if when == "told":
            await world.people.uphold(ann, "a mistake", "eve", "apl_1")
        else:
            patched.setattr(*where[when], killed)
            with pytest.raises(KeyboardInterrupt):
                await world.people.uphold(ann, "a mistake", "eve", "apl_1")
    rebuilder = Rebuilder(world.ledger, world.root)
    for _ in range(UNDERWAY_LOOKS + 2):
        await rebuilder.step()
    await world.say(ann, "g")
    if lost:
        await world.replayed(ann)
    done = await world.people.uphold(ann, "a mistake after all", "bob", "apl_1")
    assert (done.applied, done.state.level, done.state.row) == (True, 1, 0)
    found = await world.state(ann)
    assert (found.level, found.row, found.until) == (1, 1, 0)
    assert await world.replayed(ann) == found


async def test_what_is_counted_meanwhile_stays_in_order(
    world: World, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A violation between the look at a standing and the lift is lifted, too; it is tried again by the new number."""
    await world.say(ann, "z")
    lift, tries = world.ledger.lift, []

    async def interrupted(person: str, *, seq: int | None = None, name: str = "") -> Change:
        if not tries:
            await world.say(person, "a")
        tries.append(seq)
        return await lift(person, seq=seq, name=name)

    monkeypatch.setattr(world.ledger, "lift", interrupted)
    done = await world.people.lift(ann, "r", "eve")
    assert (tries, done.state.row) == ([1, 2], 0)


async def test_a_command_that_comes_too_late_does_nothing(world: World, ann: str) -> None:
    """Behind a rebuild the number is another one."""
    seq = (await world.ledger.look(ann)).seq
    await world.ledger.set(ann, GOOD)
    with pytest.raises(Changed):
        await world.ledger.uphold(ann, "apl_1", seq=seq)
    with pytest.raises(Changed):
        await world.ledger.suspend(ann, UNTIL_LIFTED, seq=seq)


@pytest.mark.parametrize(("kind", "held"), [("ban", "bans"), ("exempt", "exempt")])
async def test_bans_and_exemptions(world: World, ann: str, kind: str, held: str) -> None:
    """Placed, replaced, ended; the workers know, the log tells, the history stays."""
    until = int(time.time()) + 60
    await getattr(world.people, kind)(ann, None, "for good", "eve")
    assert (await world.services.register.document())[held] == {ann: {}}
    await getattr(world.people, kind)(ann, until, "for a while", "bob")
    assert (await world.services.register.document())[held] == {ann: {"until": until}}
    await getattr(world.people, f"un{kind}")(ann, "enough", "eve")
    assert (await world.services.register.document())[held] == {}
    assert world.published == 3
    assert [kind for kind, _ in world.told()][::2] == [kind, kind, f"un{kind}"]
    shown = await world.services.roster.show(ann)
    past = shown["bans" if kind == "ban" else "exemptions"]
    assert [(one["reason"], one["ended_by"]) for one in past] == [("for a while", "eve"), ("for good", "bob")]
    with pytest.raises(MeasureRefused) as refused:
        await getattr(world.people, f"un{kind}")(ann, "enough", "eve")
    assert (refused.value.field, refused.value.conflict) == ("id", True)


async def test_a_ban_is_in_force_before_its_end_alone(world: World, ann: str) -> None:
    """What is over is not published, and cannot be entered."""
    until = int(time.time()) + 3  # a busy machine takes a moment to enter it
    await world.people.ban(ann, until, "r", "eve")
    assert world.directory.ban(ann, until - 0.1) is not None
    assert world.directory.ban(ann, until + 0.1) is None
    await asyncio.sleep(until + 0.1 - time.time())
    assert (await world.services.register.document())["bans"] == {}
    with pytest.raises(MeasureRefused) as refused:
        await world.people.ban(ann, int(time.time()), "r", "eve")
    assert (refused.value.field, refused.value.conflict) == ("until", False)


async def test_two_admins_at_once_leave_one_ban(world: World, ann: str) -> None:
    """There is never more than one that holds."""
    await asyncio.gather(*(world.people.ban(ann, None, f"r{i}", "eve") for i in range(5)))
    shown = await world.services.roster.show(ann)
    assert [one["ended_at"] is None for one in shown["bans"]].count(True) == 1
    assert len(shown["bans"]) == 5


async def test_who_is_known(world: World) -> None:
    """Whoever was looked up, or has a standing; an id of nobody is told, and none is made of a typing error."""
    with pytest.raises(UnknownPerson):
        await world.people.ban(ANN, None, "r", "eve")
    with pytest.raises(UnknownPerson):
        await world.people.ban("nonsense", None, "r", "eve")
    await world.say(ANN, "a")
    assert (await world.people.ban(ANN, None, "r", "eve")).applied
    with pytest.raises(StandingsAway):
        await world.over(away()).measures.ban(person_id("t", "bob"), None, "r", "eve")
    assert len(world.told()) == 2


@pytest.mark.parametrize("reason", ["", " \n", "x" * 2_001])
async def test_a_reason_is_given(world: World, ann: str, reason: str) -> None:
    """And bounded; without it nothing is done."""
    for asked in (world.people.lift(ann, reason, "eve"), world.people.ban(ann, None, reason, "eve")):
        with pytest.raises(MeasureRefused) as refused:
            await asked
        assert refused.value.field == "reason"
    assert world.told() == []
    assert (await world.services.register.document())["bans"] == {}


async def test_nothing_is_done_that_is_not_on_record(world: World, ann: str) -> None:
    """A log that cannot be written leaves everything as it was."""
    world.writer.close()
    for asked in (world.people.suspend(ann, UNTIL_LIFTED, "r", "e"), world.people.ban(ann, None, "r", "e")):
        with pytest.raises(AuditUnavailable):
            await asked
    assert await world.state(ann) == GOOD
    assert (await world.services.register.document())["bans"] == {}


async def test_with_strikes_off_there_are_bans_and_no_suspensions(world: World, ann: str) -> None:
    """A suspension would never be looked at."""
    people = world.over(world.ledger, counted=False).measures
    with pytest.raises(MeasureRefused, match=r"strikes\.enabled"):
        await people.suspend(ann, UNTIL_LIFTED, "r", "e")
    assert (await people.ban(ann, None, "r", "e")).applied


async def test_the_state_server_is_not_asked_for_a_ban(world: World, ann: str) -> None:
    """SQL owns bans: with Redis away they are entered, and published when it is back."""
    ledger = away()
    with pytest.raises(RedisError):
        await ledger.redis.ping()
    assert (await world.over(ledger).measures.ban(ann, None, "r", "e")).applied
