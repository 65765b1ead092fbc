"""All engines of this machine, owned by the control process: what runs is made what is wanted, while requests flow."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from backends.before import usable
from backends.deployment import Deployment
from backends.difference import Difference, changes_places, difference, in_the_way, needs_restart
from backends.endpoint import Endpoint, ReplicaState
from backends.replica import Replica
from gateway.demand import Demand
from gateway.fleet.group import Group
from gateway.fleet.house import House
from gateway.fleet.member import Goal, Member
from gateway.fleet.metrics import FleetMetrics
from gateway.state import board, credentials
from gateway.state.redis import lived_with
from gateway.tasks import ended

LOOK_SECONDS = 5.0
"""For all engines that run already to be adopted; the workers then hear of the others' loading. One that was ready
before stays so for them beyond this (`backends.before`)."""


class UnknownDeployment(Exception):
    """There is no deployment of this id."""


class Fleet:
    """The deployments that run here, and the list of their replicas that the workers of this machine follow."""

    def __init__(
        self,
        node: str,
        house: House,
        publisher: board.Publisher,
        metrics: FleetMetrics | None = None,
    ) -> None:
        self.document = board.replicas_of(node)
        self.house = house
        self.publisher = publisher
        self.metrics = metrics or FleetMetrics()
        self.changed = asyncio.Event()
        self.demand = Demand(self._at_will, house.reports)
        self._opened = asyncio.Event()
        """Set once it is known what should run: until then nothing that runs is ended for not being wanted."""
        self._published = asyncio.Event()
        self._cleared = asyncio.Event()
        self._before: list[Endpoint] = []
        """What the workers know from the control process before this one, until it is known what should run."""
        self._groups: dict[str, Group] = {}
        self._work: set[asyncio.Task[None]] = set()

    @property
    def groups(self) -> list[Group]:
        """Every deployment that has replicas, also while they leave."""
        return list(self._groups.values())

    @property
    def members(self) -> list[Member]:
        """Every replica."""
        return [member for group in self.groups for member in group.members]

    def group(self, id_: str) -> Group:
        """Return a deployment. Raises `UnknownDeployment`."""
        for group in self._groups.values():
            if group.id == id_:
                return group
        raise UnknownDeployment(f"There is no deployment `{id_[:64]}`.")

    def apply(self, wanted: Iterable[Deployment], seconds: float | None = None) -> Difference:
        """Have *wanted* run, and nothing else; what is the same is not touched. Answers at once with what is done.

        What is to be gone ends its last answers first, or has *seconds* for them.
        """
        by_model = {deployment.model: deployment for deployment in wanted}
        credentials.write(self.house.data_dir, by_model.values())
        found = self.difference(by_model)
        ending = [self._groups[model] for model in (*found.stop, *found.restart)]
        rivals = {model: _rivals(by_model[model], ending) for model in (*found.start, *found.restart)}
        in_rivalry = {group.deployment.model for others in rivals.values() for group in others}
        for group in ending:
            if group.deployment.model not in by_model:
                self._dismiss(group, seconds)
        for model, others in rivals.items():
            rolls = model in found.restart and not others and model not in in_rivalry
            if rolls and not changes_places(self._groups[model].deployment, by_model[model]):
                self._groups[model].change(by_model[model])
            else:
                self._begin(by_model[model], others)
        for model in found.change:
            self._groups[model].change(by_model[model])
        self._before = []
        self.changed.set()
        self._opened.set()
        return found

    def goes_on_as(self, deployment: Deployment) -> bool:
        """Return whether it runs, and would go on without a new engine."""
        group = self._groups.get(deployment.model)
        return group is not None and not group.leaving and not needs_restart(group.deployment, deployment)

    def difference(self, by_model: Mapping[str, Deployment]) -> Difference:
        """Return what `apply` would do."""
        running = {group.deployment.model: group.deployment for group in self.groups if not group.leaving}
        return difference(running, by_model)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Own the engines and publish each change within the block; then end every engine, or leave it running.

        Where they are left, the workers of now and those to come find what is published still true.
        """
        async with self.house.owned():
            await self._look_back()
            tasks = [asyncio.create_task(work) for work in (self._follow(), self._clear(), self.demand.run())]
            try:
                yield
            finally:
                await ended([*tasks, *self._work])
                leave = self.house.leaves_engines
                await asyncio.gather(*(group.end(leave=leave) for group in self.groups))
                if not leave:
                    await self.publish()

    async def publish(self) -> None:
        """Tell the workers what there is."""
        members = self.members
        self.metrics.take(members)
        endpoints = [endpoint for member in members for endpoint in member.replica.endpoints()]
        await self.publisher.publish(self.document, [msgspec.to_builtins(endpoint) for endpoint in endpoints])

    def coming(self) -> list[str]:
        """Return the replicas that are on their way to be ready."""
        waited = {ReplicaState.STOPPED, ReplicaState.STARTING}
        return [
            member.replica.id
            for group in self.groups
            for member in group.members
            if (member.goal is Goal.RUN or group.waiting) and member.state in waited and not member.replica.asleep
        ]

    def _made(self, deployment: Deployment, index: int, on_change: Callable[[], None]) -> Replica:
        """Return a replica; one that runs already stays as the workers know it until it has been looked at."""
        made = self.house.replica(deployment, index, on_change, self._cleared.wait)
        if self._before and made.is_there():
            made.before = usable(self._before, made.id, deployment, made.address)
        return made

    async def _look_back(self) -> None:
        """Learn what the workers know; nothing where the state server does not say."""
        with lived_with("what was published before cannot be read"):
            async with asyncio.timeout(board.START_SECONDS):
                found = await self.publisher.board.read(self.document)
            if found is not None:
                self._before = msgspec.convert(found[1], list[Endpoint])

    def _at_will(self) -> list[Replica]:
        """Return the replicas that may be loaded and unloaded as requests come: nobody has ordered anything else."""
        return [member.replica for member in self.members if member.goal is Goal.RUN and member.settled]

    def _begin(self, deployment: Deployment, rivals: Sequence[Group]) -> None:
        """Have a deployment run once *rivals* have gone; one that runs in another way goes first, as a whole."""
        group = self._groups.get(deployment.model)
        runs = group is None or group.leaving or group.goal is Goal.RUN
        if group is None:
            group = self._groups[deployment.model] = Group(deployment, self._made, self.changed.set)
            if not rivals:
                group.start()
                return
        elif group.leaving and not needs_restart(group.deployment, deployment):
            group.start()
            group.change(deployment)
            return
        else:
            group.leaving = False
            group.drain()
            group.change(deployment)
        if runs:
            group.waiting = True
            self._do(_start_after(group, [group, *rivals]))

    def _dismiss(self, group: Group, seconds: float | None) -> None:
        """Have a deployment drained and forgotten; it may be wanted again before."""
        group.leaving = True
        group.drain(seconds)
        self._do(self._forget(group))

    async def _forget(self, group: Group) -> None:
        await group.gone()
        if group.leaving and self._groups.get(group.deployment.model) is group:
            del self._groups[group.deployment.model]
            self.changed.set()
            await group.end()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _follow(self) -> None:
        """Publish each change: at first not before it is known which of those that run already can be used."""
        await self._opened.wait()
        there = [member.replica for member in self.members if member.goal is Goal.RUN and member.replica.is_there()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await asyncio.gather(*(replica.looked.wait() for replica in there))
        while True:
            self.changed.clear()
            await self.publish()
            self._published.set()
            await self.changed.wait()

    async def _clear(self) -> None:
        """End the engines that no deployment wants any more, once the workers know of those that are wanted."""
        await self._opened.wait()
        left = self.house.left_over({member.replica.id for member in self.members})
        if left:
            await self._published.wait()
            await self.house.clear(left)
        self._cleared.set()


def _rivals(deployment: Deployment, ending: Iterable[Group]) -> list[Group]:
    """Return those of *ending* that hold a port or a GPU that *deployment* needs, beside its own group."""
    others = (group for group in ending if group.deployment.model != deployment.model)
    return [group for group in others if in_the_way(group.deployment, deployment)]


async def _start_after(group: Group, leaving: Iterable[Group]) -> None:
    await asyncio.gather(*(other.gone() for other in leaving))
    if group.waiting:  # it may have been stopped meanwhile
        group.start()
