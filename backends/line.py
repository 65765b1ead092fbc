"""One model, as one worker sees it: its replicas, and those who wait for one."""

import asyncio
from collections.abc import Callable, Collection
from typing import NamedTuple

from backends.admission import FairQueue, Full, Place
from backends.endpoint import ReplicaState
from backends.errors import BackendError, NoReplica, Overloaded
from backends.load import Ask, Load, Priority
from backends.routing import POLICIES, Routing


class Hold(NamedTuple):
    """The right to one request at a replica, and the number that its breaker wants back with what came of it."""

    load: Load
    number: int


class Line:
    """Gives replicas to requests, at once where one has room, else in the order of the queue.

    Belongs to one event loop. Whoever has got a hold brings it back by `release`.
    """

    def __init__(self, model: str, queue: FairQueue, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.queue = queue
        self.ready: list[Load] = []
        """The replicas that may be asked."""
        self.leaving: list[Load] = []
        """Those that drain: where none is ready they still serve who waits already, and nobody else."""
        self.states = ""
        """What they are doing, in words, for when none is ready."""
        self.wakes = False
        """Whether one that is unloaded is started for a request, which then waits."""
        self.on_demand: Callable[[], None] = lambda: None
        """Called when a request comes for one that is."""
        self.policy = POLICIES[Routing.LEAST_TOKENS]
        self._loop = loop
        self._number = 0
        self._futures: dict[Place, asyncio.Future[Hold]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, ask: Ask) -> Hold:
        """Return a replica for *ask*. Raises `NoReplica` and `Overloaded`."""
        if not self.ready:
            if not self.wakes:
                raise NoReplica(self.model, self.states)
            self.on_demand()
        if not self.queue and (load := self.choose(ask)) is not None:
            return self._take(load, ask)
        return await self._wait(ask)

    async def instead(self, ask: Ask, tried: Collection[str]) -> Hold | None:
        """Return another replica than those of *tried*, for a request whose replica has failed; None: there is none.

        It goes before all others who wait. Raises `Overloaded` and `NoReplica`.
        """
        if all(load.endpoint.replica in tried for load in self.ready):
            return None
        load = self.choose(ask, tried)
        if load is not None:
            return self._take(load, ask)
        hold = await self._wait(ask._replace(priority=Priority.AGAIN), tried)
        if hold.load.endpoint.replica not in tried:
            return hold
        self.release(hold, ask)
        return None

    def choose(self, ask: Ask, without: Collection[str] = ()) -> Load | None:
        """Return the replica that suits *ask* best, of those with room; None: none has.

        One of *without* is chosen only where there are no others.
        """
        ready = self.ready or self.leaving
        if without:
            ready = [load for load in ready if load.endpoint.replica not in without] or ready
        if len(ready) == 1:
            return ready[0] if ready[0].requests < ready[0].cap else None
        now = self._loop.time()
        # with every breaker open, to try is better than to answer nobody
        sound = [load for load in ready if load.breaker.allows(now)] or ready
        room = [load for load in sound if load.requests < load.cap]
        if not room:
            return None
        self._number += 1
        return self.policy(room, ask, self._number)

    def release(self, hold: Hold, ask: Ask) -> None:
        """Count *ask* as no longer there; who is next has its place."""
        hold.load.requests -= 1
        hold.load.tokens -= ask.tokens
        hold.load.breaker.left(hold.number)
        if self.queue:
            self.serve()

    def serve(self) -> None:
        """Give replicas with room to those who wait."""
        while (place := self.queue.first()) is not None:
            future = self._futures[place]
            if future.done():  # its client has left, and its task does not know yet
                self.queue.leave(place)
                continue
            load = self.choose(place.ask, place.without)
            if load is None:
                return
            self.queue.serve(place, self._loop.time())
            future.set_result(self._take(load, place.ask))

    def close(self) -> None:
        """Turn all away: the model is no longer known. What runs is still brought back, and the model may return."""
        self.ready, self.leaving, self.states, self.wakes = [], [], ReplicaState.STOPPED.value, False
        self.turn_away()

    def turn_away(self) -> None:
        """Turn all away who wait: no replica is coming."""
        while (place := self.queue.first()) is not None:
            self._turn_away(place, NoReplica(self.model, self.states))

    def _take(self, load: Load, ask: Ask) -> Hold:
        if not load.requests:
            load.since = self._loop.time()
        load.requests += 1
        load.taken += 1
        load.tokens += ask.tokens
        return Hold(load, load.breaker.begin())

    async def _wait(self, ask: Ask, without: Collection[str] = ()) -> Hold:
        """Wait for a replica. Raises `Overloaded`, at once or when it took too long, and `NoReplica`."""
        try:
            place, pushed_out = self.queue.enter(ask, self._loop.time())
        except Full:
            raise self._busy() from None
        place.without = without
        if pushed_out is not None:
            self._turn_away(pushed_out, self._busy())
        future: asyncio.Future[Hold] = self._loop.create_future()
        self._futures[place] = future
        if self._timer is None:
            self._timer = self._loop.call_at(place.deadline, self._expire)
        self.serve()  # a breaker's pause may just be over
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result(), ask)  # its client left just as its turn had come
            raise
        finally:
            self.queue.leave(place)
            del self._futures[place]

    def _expire(self) -> None:
        """Turn away all who have waited too long, and come again for the next one."""
        for place in self.queue.expire(self._loop.time()):
            self._turn_away(place, self._busy() if self.ready else NoReplica(self.model, self.states))
        due = self.queue.due()
        self._timer = self._loop.call_at(due, self._expire) if due is not None else None

    def _turn_away(self, place: Place, error: BackendError) -> None:
        self.queue.leave(place)
        if not (future := self._futures[place]).done():
            future.set_exception(error)

    def _busy(self) -> Overloaded:
        return Overloaded(self.model, self.queue.retry_after())
