"""Holds each turn to the rate limits of its key and its person."""

import asyncio
import logging
import time

from redis.exceptions import RedisError

from gateway.audit.record import Outcome, Turn
from gateway.keys import Caller, Limits
from gateway.limits.allowance import KEY, PERSON, REQUESTS, STREAMS, TOKENS, Allowance, Bounded, Limited
from gateway.limits.meter import Meter, Refund
from gateway.limits.rules import Bounds
from gateway.problems import Problem
from policies.rates import Book, Charge, Grant

log = logging.getLogger(__name__)

AWAY_SECONDS = 1.0
"""For which Redis is not asked again after it has failed: else each turn would wait for it."""
MOST_TOKENS = 10**9
"""Of one turn; an engine may report any number."""
_NONE, _UNBOUND = Limits(), Bounds()
_AWAY = "Nobody's rate limits can be counted now."


class Limiter:
    """Takes for each turn what it will probably use, and settles it when it has ended. One a worker."""

    def __init__(
        self, meter: Meter, key: Bounds = _UNBOUND, person: Bounds = _UNBOUND, *, closed: bool = False
    ) -> None:
        self.meter = meter
        self.key = key
        """Of each key, where it has no limit of its own."""
        self.person = person
        """Of each person, where their key says nothing."""
        self.closed = closed
        self.book = Book(meter.span)
        """What this worker has counted alone while Redis was away."""
        self._unbound = key == person == _UNBOUND
        self._places: dict[str, list[tuple[str, str]]] = {}
        """Places of running turns, key and name, by the turn."""
        self._known: dict[str, tuple[Caller, list[tuple[str, str, int, str]]]] = {}
        """The limits of each key, as it was when they were found out."""
        self._away_until = 0.0

    def holds(self, caller: Caller) -> bool:
        """Return whether there is any limit for *caller* or its people."""
        return not (self._unbound and caller.limits == _NONE)

    async def admit(self, turn: Turn, tokens: int, *, stream: bool) -> None:
        """Take a request, *tokens* as they are estimated, and a place where it is a *stream*.

        Raises `Limited`; and a 503 `Problem` where Redis is away and nobody is to be answered uncounted.
        """
        bounds = self._bounds(turn, tokens, stream=stream)
        if not bounds:
            return
        charges = [one.charge for one in bounds]
        grant = await self._take(charges)
        shared = grant is not None
        if grant is None:
            if self.closed:
                raise Problem(503, _AWAY, kind="server_error", code="limits_unknown", retry_after=1)
            grant = self.book.take(charges, _now())
        turn.allowance = Allowance(bounds, grant, self.meter.span, shared)
        if (lacking := turn.allowance.lacking) is not None:
            raise Limited(turn.allowance, lacking)
        if places := [(one.key, one.place) for one in charges if one.place]:
            self._places[turn.id] = places

    def settle(self, turn: Turn) -> None:
        """Give back what a turn did not use, or take what it used beyond; its places are free. Once a turn."""
        allowance = turn.allowance
        if allowance is None or allowance.settled or allowance.lacking is not None:
            return
        allowance.settled = True
        self._places.pop(turn.id, None)
        at, used = allowance.grant.at, _used(turn)
        refunds = [
            Refund(one.charge.key, one.charge.amount - used if used is not None else 0, at, one.charge.place)
            for one in allowance.bounds
            if one.what == STREAMS or (one.what == TOKENS and used not in {None, one.charge.amount})
        ]
        if refunds and allowance.shared:
            self.meter.give(refunds)
        elif refunds:
            self._give_alone(refunds)

    async def run(self) -> None:
        """Keep the places of running turns until cancelled."""
        while True:
            await asyncio.sleep(self.meter.span.place / 3000)
            self.book.forget(_now())
            if places := [place for places in self._places.values() for place in places]:
                self.meter.renew(places)

    def _bounds(self, turn: Turn, tokens: int, *, stream: bool) -> tuple[Bounded, ...]:
        """Return the limits of *turn*, each with what it takes of it."""
        person, found = turn.standing.id, []
        for whose, what, limit, key in self._limits(turn.caller):
            if (whose is PERSON and not person) or (what is STREAMS and not stream):
                continue
            if what is TOKENS:  # who asks for more than there ever is gets all of it
                charge = Charge(key + person if whose is PERSON else key, limit, min(tokens, limit))
            else:
                place = turn.id if what is STREAMS else ""
                charge = Charge(key + person if whose is PERSON else key, limit, 1, place)
            found.append(Bounded(whose, what, charge))
        return tuple(found)

    def _limits(self, caller: Caller) -> list[tuple[str, str, int, str]]:
        """Return whose, what, how much, and the key of it in Redis, of a person's without its end; found out once."""
        known, limits = self._known.get(caller.key_id, (None, []))
        if known is caller:
            return limits
        own = caller.limits
        found = (
            (KEY, REQUESTS, own.requests_per_minute or self.key.requests_per_minute),
            (KEY, TOKENS, own.tokens_per_minute or self.key.tokens_per_minute),
            (KEY, STREAMS, own.parallel_streams or self.key.parallel_streams),
            (PERSON, REQUESTS, own.person_requests_per_minute or self.person.requests_per_minute),
            (PERSON, TOKENS, own.person_tokens_per_minute or self.person.tokens_per_minute),
            (PERSON, STREAMS, own.person_parallel_streams or self.person.parallel_streams),
        )
        slot = f"gw:{{limits:{caller.tenant}}}"  # one of a cluster for all of a tenant: keys and people in one call
        limits = [
            (whose, what, limit, f"{slot}:{what}:{whose}:{caller.key_id if whose is KEY else ''}")
            for whose, what, limit in found
            if limit is not None
        ]
        self._known[caller.key_id] = (caller, limits)
        return limits

    async def _take(self, charges: list[Charge]) -> Grant | None:
        """Return what Redis says; None: it is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            grant = await self.meter.take(charges)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            if not self._away_until:
                log.warning("rate limits are %s: %r", "refused" if self.closed else "counted by each worker", error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        if self._away_until:
            log.info("rate limits are shared again")
            self._away_until = 0.0
        return grant

    def _give_alone(self, refunds: list[Refund]) -> None:
        now = _now()
        for one in refunds:
            if one.place:
                self.book.leave(one.key, one.place)
            else:
                self.book.give(one.key, one.amount, one.at, now)


def _used(turn: Turn) -> int | None:
    """Return the tokens of a turn that has ended; None: nobody knows, since its client left an engine at work."""
    if turn.prompt_tokens or turn.completion_tokens:
        return min(max(turn.prompt_tokens + turn.completion_tokens, 0), MOST_TOKENS)
    return None if turn.outcome is Outcome.CLIENT_GONE and turn.replica else 0


def _now() -> int:
    return time.time_ns() // 1_000_000
