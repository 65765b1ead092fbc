"""One replica, and what is wanted of it: to run, or to be gone."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from gateway import banner
from gateway.tasks import ended

log = logging.getLogger(__name__)


Make = Callable[[Deployment, int, Callable[[], None]], Replica]
"""Makes the replica of a deployment with a number, and has it call back whenever its endpoint answers something new."""


class Goal(StrEnum):
    """What is wanted of a replica."""

    RUN = "run"
    STOP = "stop"


@dataclass(slots=True)
class Record:
    """What a replica has been through; times are Unix seconds."""

    state: ReplicaState = ReplicaState.STOPPED
    since: float = 0.0
    """When it came to its state."""
    ready_at: float | None = None
    """When it was last ready to serve."""
    load_seconds: float | None = None
    """How long it took to become so."""
    restarts: int = 0
    """Times that it was started again by itself, after it had been ready."""

    def take(self, state: ReplicaState, now: float) -> None:
        """Note that it came to *state*."""
        if state is self.state:
            return
        if state is ReplicaState.STARTING and self.state is ReplicaState.READY:
            self.restarts += 1
        if state is ReplicaState.READY:
            self.load_seconds = now - self.since if self.state is ReplicaState.STARTING else None
            self.ready_at = now
        self.state, self.since = state, now


class Member:
    """One replica of a deployment. Orders return at once; `run` carries out the newest one, `reached` waits for it.

    *on_change* is called, in the event loop, whenever `endpoint` answers something new.
    """

    def __init__(self, deployment: Deployment, index: int, make: Make, on_change: Callable[[], None]) -> None:
        self.deployment = deployment
        """As it is wanted."""
        self.index = index
        self.make = make
        self.on_change = on_change
        self.record = Record(since=time.time())
        self.goal = Goal.STOP
        self.retiring = False
        """Whether it is to be forgotten once it has gone."""
        self.replica = self._made()
        self._again = False
        self._gently = True
        self._seconds: float | None = None
        self._ordered = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self) -> None:
        """Have it run; a drain that is under way is called off."""
        self._order(Goal.RUN, again=self.replica.deployment is not self.deployment)

    def stop(self) -> None:
        """Have it gone now, whatever it is doing: running answers break off."""
        self._order(Goal.STOP, gently=False)

    def drain(self, seconds: float | None = None) -> None:
        """Have it gone once its last answer has ended, or after *seconds*."""
        self._order(Goal.STOP, seconds=seconds)

    def restart(self, deployment: Deployment | None = None, seconds: float | None = None) -> None:
        """Have it drained and started anew, as *deployment* says."""
        self.deployment = deployment or self.deployment
        self._order(Goal.RUN, again=True, seconds=seconds)

    def change(self, deployment: Deployment) -> None:
        """Go on as *deployment* says, which differs in fields alone that need no new engine."""
        self.deployment = self.replica.deployment = deployment
        if self.replica.asleep and not self.replica.on_demand:
            self.start()
        self.on_change()

    @property
    def settled(self) -> bool:
        """Whether the newest order is carried out."""
        return self._idle.is_set()

    async def reached(self) -> ReplicaState:
        """Return the state once the newest order is carried out: ready or failed, or stopped, where it may sleep."""
        await self._idle.wait()
        return self.replica.state

    async def run(self) -> None:
        """Carry out orders until cancelled; what runs then goes on."""
        while True:
            self._ordered.clear()
            leaving = self._again or self.goal is Goal.STOP
            await (self._leave() if leaving else self._go())
            if not self._ordered.is_set():
                self._idle.set()
                await self._ordered.wait()

    @property
    def state(self) -> ReplicaState:
        """What it is doing."""
        return self.replica.state

    def _made(self) -> Replica:
        return self.make(self.deployment, self.index, self._seen)

    def _order(self, goal: Goal, *, again: bool = False, gently: bool = True, seconds: float | None = None) -> None:
        self.goal, self._again, self._gently, self._seconds = goal, again, gently, seconds
        self._idle.clear()
        self._ordered.set()

    def _seen(self) -> None:
        self.record.take(self.replica.state, time.time())
        self.on_change()

    async def _go(self) -> None:
        """Start it, or have the next request do so; return when it is ready or has failed, or at another order.

        What is loaded on demand and runs already is adopted.
        """
        if self._may_rest():
            await self.replica.stop()  # it may have failed
            self.replica.rest()
            return
        try:
            await self._unless_ordered(self.replica.ensure_ready())
        except StartFailed as error:
            if self.goal is Goal.RUN and not self._ordered.is_set():
                written = self.deployment.engine is not Engine.EXTERNAL
                log.error("%s", banner.failure(error, self.replica.process.log if written else None))  # noqa: TRY400

    def _may_rest(self) -> bool:
        idle = self.replica.state in {ReplicaState.STOPPED, ReplicaState.FAILED}
        return self.replica.on_demand and idle and not self.replica.is_there()

    async def _leave(self) -> None:
        """Drain and stop it, and have it start anew where that is wanted; return at another order."""
        serves = self.replica.state in {ReplicaState.READY, ReplicaState.DRAINING}
        named = self.replica.deployment.discover is not None  # a stop then cuts nothing: who has a lease keeps it
        if self._gently and serves and not named:
            await self._unless_ordered(self.replica.drain(math.inf if self._seconds is None else self._seconds))
            if self._ordered.is_set():
                return
        await self.replica.stop()
        if self.replica.deployment is not self.deployment:
            self.replica = self._made()
        if self._again and not self._ordered.is_set():
            self._again = False
            self._ordered.set()

    async def _unless_ordered(self, work: Coroutine[Any, Any, object]) -> None:
        """Wait for *work*; another order ends it. Raises what it raises."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._ordered.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                await tasks[0]
        finally:
            await ended(tasks)
