"""One deployment as it runs: as many replicas as it wants, and what is done to them together."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from typing import Any

from backends.deployment import Deployment
from backends.difference import needs_restart
from backends.endpoint import ReplicaState
from gateway.fleet.member import Goal, Make, Member

log = logging.getLogger(__name__)

ORDER = (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING, ReplicaState.FAILED, ReplicaState.STOPPED)
"""States, the best one first."""


def id_of(model: str) -> str:
    """Return the id of a model's deployment: opaque, since a model may be a path, and the same after every start."""
    return f"dep_{sha256(model.encode()).hexdigest()[:16]}"


class UnknownReplica(Exception):
    """The deployment has no replica of this number."""


class Group:
    """The replicas of one deployment. What is ordered begins at once and is carried out in the background."""

    def __init__(self, deployment: Deployment, make: Make, on_change: Callable[[], None]) -> None:
        self.deployment = deployment
        self.id = id_of(deployment.model)
        self.make = make
        self.on_change = on_change
        self.goal = Goal.STOP
        self.leaving = False
        """Whether it is to be gone for good."""
        self.waiting = False
        """Whether it starts once others have gone."""
        self.trouble: str | None = None
        """Why a change was not carried out to its end."""
        self._members: dict[int, Member] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._rolling: asyncio.Task[None] | None = None
        self._fit()

    @property
    def members(self) -> list[Member]:
        """The replicas, by number; those that are to be gone stay until they are."""
        return [self._members[index] for index in sorted(self._members)]

    @property
    def state(self) -> ReplicaState:
        """The best state of its replicas."""
        return min((member.state for member in self._members.values()), key=ORDER.index, default=ReplicaState.STOPPED)

    @property
    def settled(self) -> bool:
        """Whether nothing that was ordered is under way."""
        return not self.waiting and not self._work and all(member.settled for member in self._members.values())

    def member(self, index: int) -> Member:
        """Return one replica. Raises `UnknownReplica`."""
        if index not in self._members:
            raise UnknownReplica(f"The deployment of `{self.deployment.model}` has no replica {index}.")
        return self._members[index]

    def start(self) -> None:
        """Have every replica run."""
        self.goal, self.leaving, self.waiting = Goal.RUN, False, False
        for member in self._wanted():
            member.start()

    def stop(self) -> None:
        """Have every replica gone now; running answers break off."""
        self.goal, self.waiting = Goal.STOP, False
        self._end_roll()
        for member in self.members:
            member.stop()

    def drain(self, seconds: float | None = None) -> None:
        """Have every replica gone once its last answer has ended, or after *seconds*."""
        self.goal, self.waiting = Goal.STOP, False
        self._end_roll()
        for member in self.members:
            member.drain(seconds)

    def restart(self, seconds: float | None = None) -> None:
        """Have the replicas drained and started anew, one after the other."""
        self.goal, self.leaving = Goal.RUN, False
        self._roll(self._wanted(), seconds)

    def change(self, deployment: Deployment) -> None:
        """Have it run as *deployment* says: what needs no new engine at once, the rest one replica after the other."""
        stale = []
        for member in self.members:
            if not needs_restart(member.deployment, deployment):
                member.change(deployment)
            elif member.goal is Goal.RUN:
                stale.append(member)
            else:
                member.deployment = deployment
        self.deployment = deployment
        self._fit()
        self._roll([member for member in stale if not member.retiring], None)

    async def gone(self) -> None:
        """Return when no replica has an order that is not carried out."""
        await asyncio.gather(*(member.reached() for member in self.members))

    async def end(self, *, leave: bool = False) -> None:
        """Stop following orders, and end every engine, or *leave* it running for somebody else to adopt."""
        for task in (*self._work, *self._runs.values()):
            task.cancel()
        await asyncio.gather(*self._work, *self._runs.values(), return_exceptions=True)
        ends = [member.replica.leave() if leave else member.replica.stop() for member in self.members]
        await asyncio.gather(*ends, return_exceptions=True)

    def _wanted(self) -> list[Member]:
        return [member for member in self.members if member.index < self.deployment.replicas]

    def _fit(self) -> None:
        """Have as many replicas as the deployment says; those beyond drain."""
        for index in range(self.deployment.replicas):
            member = self._members.get(index)
            if member is None:
                member = Member(self.deployment, index, self.make, self.on_change)
                self._members[index] = member
                self._runs[index] = asyncio.create_task(member.run())
                if self.goal is Goal.RUN:
                    member.start()
            elif self.goal is Goal.RUN and member.retiring:
                member.start()
            member.retiring = False
        for member in self.members[self.deployment.replicas :]:
            if not member.retiring:
                member.retiring = True
                member.drain()
                self._do(self._retire(member))
        self.on_change()

    async def _retire(self, member: Member) -> None:
        """Forget a replica that is not wanted, once it has gone; it may be wanted again before."""
        await member.reached()
        if member.retiring and self._members.get(member.index) is member:
            del self._members[member.index]
            task = self._runs.pop(member.index)
            task.cancel()
            self.on_change()

    def _roll(self, members: Sequence[Member], seconds: float | None) -> None:
        self._end_roll()
        if members:
            self.trouble = None
            self._rolling = self._do(self._one_by_one(members, seconds))

    def _end_roll(self) -> None:
        if self._rolling is not None:
            self._rolling.cancel()
            self._rolling = None

    async def _one_by_one(self, members: Sequence[Member], seconds: float | None) -> None:
        """Start each anew once the one before is ready; where one fails the others stay as they are."""
        for i, member in enumerate(members):
            member.restart(self.deployment, seconds)
            if await member.reached() is not ReplicaState.READY and not member.replica.asleep:
                left = len(members) - i - 1
                self.trouble = f"replica {member.index} did not start anew; {left} more were left as they were"
                log.error("%s: %s", self.deployment.model, self.trouble)
                return

    def _do(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task
