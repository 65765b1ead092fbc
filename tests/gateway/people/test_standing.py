"""What a turn is told of whoever speaks, with a real state server and with none."""

import time

import pytest
from redis.asyncio import Redis

from gateway.people.directory import Directory, packed, person_id
from gateway.people.ledger import Ledger
from gateway.people.standing import NOBODY, PENDING, Kept, Uncounted
from gateway.people.watch import Watch
from gateway.problems import Problem
from gateway.relay.identity import Person
from policies.strikes import SUSPENDED_ROW, UNTIL_LIFTED, Rule

ANN = Person("t", "ann")


def kept(redis: "Redis", *, closed: bool = False) -> Kept:
    ledger = Ledger(redis, Rule())
    return Kept(ledger, Watch(ledger), Directory(), closed=closed)


async def test_three_violations_close_the_door(redis: "Redis") -> None:
    """The person is suspended, others are not, nobody is nobody."""
    standings = kept(redis)
    await standings.ledger.open("e")
    standing = await standings.check(ANN, time.time())
    strikes = [await standings.count(standing, words, f"turn-{words}", violation=True) for words in "abc"]
    assert strikes[-1].event == SUSPENDED_ROW
    now = time.time()
    assert (await standings.check(ANN, now)).closed_until == strikes[-1].after.until
    assert (await standings.check(Person("t", "bob"), now)).closed_until is None
    assert await standings.check(None, now) is NOBODY


async def test_bans_and_exemptions_come_first(redis: "Redis") -> None:
    """Whoever is banned is not answered; whoever is exempt is not counted."""
    standings = kept(redis)
    await standings.ledger.open("e")
    standings.directory.take({"bans": {person_id("t", "ann"): {}}})
    assert (await standings.check(ANN, time.time())).closed_until == UNTIL_LIFTED
    standings.directory.take({"exempt": {person_id("t", "ann"): {}}})
    assert not (await standings.check(ANN, time.time())).counted
    assert not (await standings.check(Person("t", "bob"), time.time(), exempt=True)).counted


async def test_without_redis_it_is_counted_later() -> None:
    """Open: the turn goes on, and the count is pending. Closed: nobody unknown is answered."""
    away: Redis = Redis.from_url("unix:///nonexistent/socket")
    standings = kept(away)
    standing = await standings.check(ANN, time.time())
    assert (await standings.count(standing, "a", "turn", violation=True)).event == PENDING
    with pytest.raises(Problem) as refused:
        await kept(away, closed=True).check(ANN, time.time())
    assert refused.value.status == 503


async def test_with_strikes_off_bans_hold() -> None:
    """Nobody is counted, aliases are known, and whoever is banned is not answered."""
    standings = Uncounted(Directory())
    ann = person_id("t", "ann")
    found = await standings.check(ANN, time.time())
    assert (found.id, found.counted, found.closed_until) == (ann, False, None)
    assert await standings.check(None, time.time()) is NOBODY
    bob = person_id("t", "bob")
    standings.directory.take({"aliases": packed({ann: bob}), "bans": {bob: {"until": 100}}})
    banned = await standings.check(ANN, 99)
    assert (banned.id, banned.banned, banned.closed_until) == (bob, True, 100_000)
    assert (await standings.check(ANN, 100)).closed_until is None
