"""All engines of this machine, owned by the control process: what runs is made what is wanted, while requests flow."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.deployment import Deployment
from backends.difference import Difference, changes_places, difference, in_the_way, needs_restart
from backends.discovery import Discovered
from backends.endpoint import Endpoint, ReplicaState
from backends.replica import Replica
from gateway.fleet.group import Group
from gateway.fleet.member import Goal
from gateway.fleet.metrics import FleetMetrics
from gateway.state import board, credentials
from gateway.state.drains import Drains
from gateway.tasks import ended


class UnknownDeployment(Exception):
    """There is no deployment of this id."""


class Fleet:
    """The deployments that run here, and the list of their replicas that the workers of this machine follow."""

    def __init__(
        self,
        node: str,
        data_dir: Path,
        publisher: board.Publisher,
        drains: Drains,
        metrics: FleetMetrics | None = None,
    ) -> None:
        self.document = board.replicas_of(node)
        self.data_dir = data_dir
        self.publisher = publisher
        self.drains = drains
        self.metrics = metrics or FleetMetrics()
        self.changed = asyncio.Event()
        self._groups: dict[str, Group] = {}
        self._discovered: dict[str, tuple[Discovered, asyncio.Task[None]]] = {}
        """Deployments whose replicas are the addresses of a name, each with the task that looks for them."""
        self._work: set[asyncio.Task[None]] = set()

    @property
    def groups(self) -> list[Group]:
        """Every deployment that has replicas, also while they leave."""
        return list(self._groups.values())

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
        credentials.write(self.data_dir, by_model.values())
        self._discover({model: by_model.pop(model) for model, one in tuple(by_model.items()) if one.discover})
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
        self.changed.set()
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
        """Publish each change within the block; then end every engine."""
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            await ended([following, *self._work])
            self._discover({})
            await asyncio.gather(*self._work, *(group.end() for group in self.groups), return_exceptions=True)
            await self.publish()

    async def publish(self) -> None:
        """Tell the workers what there is."""
        members = [member for group in self.groups for member in group.members]
        self.metrics.take(members)
        await self.publisher.publish(self.document, [msgspec.to_builtins(endpoint) for endpoint in self.endpoints()])

    def endpoints(self) -> list[Endpoint]:
        """Return every replica, as those see it who send requests to it."""
        found = [endpoint for one, _ in self._discovered.values() for endpoint in one.endpoints()]
        return [*(member.endpoint() for group in self.groups for member in group.members), *found]

    def coming(self) -> list[str]:
        """Return the replicas that are on their way to be ready."""
        waited = {ReplicaState.STOPPED, ReplicaState.STARTING}
        found = [endpoint for one, _ in self._discovered.values() for endpoint in one.endpoints()]
        return [
            *(
                member.replica.id
                for group in self.groups
                for member in group.members
                if (member.goal is Goal.RUN or group.waiting) and member.state in waited
            ),
            *(endpoint.replica for endpoint in found if endpoint.state in waited),
        ]

    def _made(self, deployment: Deployment, index: int, on_change: Callable[[], None]) -> Replica:
        return Replica(deployment, index, self.data_dir / "engines", on_change=on_change)

    def _begin(self, deployment: Deployment, rivals: Sequence[Group]) -> None:
        """Have a deployment run once *rivals* have gone; one that runs in another way goes first, as a whole."""
        group = self._groups.get(deployment.model)
        runs = group is None or group.leaving or group.goal is Goal.RUN
        if group is None:
            group = self._groups[deployment.model] = Group(deployment, self._made, self.drains, self.changed.set)
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

    def _discover(self, wanted: Mapping[str, Deployment]) -> None:
        """Follow the addresses of *wanted*, and of no others. What is the same goes on; a lease lives as it is."""
        for model, (found, looking) in tuple(self._discovered.items()):
            if wanted.get(model) != found.deployment:
                looking.cancel()
                del self._discovered[model]
                self._do(found.stop())
        for model, deployment in wanted.items():
            if model not in self._discovered:
                found = Discovered(deployment, self.data_dir / "engines", on_change=self.changed.set)
                self._discovered[model] = found, asyncio.create_task(found.run())

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
        while True:
            self.changed.clear()
            await self.publish()
            await self.changed.wait()


def _rivals(deployment: Deployment, ending: Iterable[Group]) -> list[Group]:
    """Return those of *ending* that hold a port or a GPU that *deployment* needs, beside its own group."""
    others = (group for group in ending if group.deployment.model != deployment.model)
    return [group for group in others if in_the_way(group.deployment, deployment)]


async def _start_after(group: Group, leaving: Iterable[Group]) -> None:
    await asyncio.gather(*(other.gone() for other in leaving))
    if group.waiting:  # it may have been stopped meanwhile
        group.start()
