"""The engines of this machine, owned by the control process."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.leftovers import end_all, leftovers
from backends.ownership import Ownership
from backends.process import Outlive
from backends.replica import Replica, folder
from backends.traffic import Reports
from gateway import banner
from gateway.demand import Demand
from gateway.ray import cluster
from gateway.reports import heard, reports_path
from gateway.settings import Settings
from gateway.state import board
from gateway.tasks import ended

PROGRESS_SECONDS = 1.0
HOUSE_SECONDS = 10.0
"""For a control process before this one to let go of the engines."""
DRAIN_LOOK_SECONDS = 0.1
LOOK_SECONDS = 5.0
"""For all engines that run already to be adopted; the workers then hear of the others' loading."""

log = logging.getLogger(__name__)


class Replicas:
    """All replicas of this machine, and the list of them that the workers follow."""

    def __init__(self, settings: Settings, deployments: tuple[Deployment, ...], publisher: board.Publisher) -> None:
        self.publisher = publisher
        self.changed = asyncio.Event()
        self.folder = settings.data_dir.resolve() / "engines"
        self.house = Ownership(self.folder / "owner")
        self.engines = settings.engines
        self.leaves_engines = settings.deployments is not None and settings.engines.outlive != "nothing"
        """Whether engines live on when this process ends; see `told`."""
        self.reports = Reports(settings.worker_count)
        self.desk = reports_path(settings.data_dir)
        self.demand = Demand(lambda: self.replicas, self.reports)
        self.drain_seconds = settings.timeouts.drain_seconds
        self.cluster = cluster(settings, deployments, self.folder)
        outlive = Outlive(self.house.path, settings.engines.orphan_seconds) if self.leaves_engines else None
        self.replicas = [
            Replica(
                deployment,
                index,
                self.folder,
                on_change=self.changed.set,
                outlive=outlive,
                log_bytes=settings.engines.log_bytes,
                traffic=self.reports,
                drain_seconds=self.drain_seconds,
                cluster=self.cluster,
            )
            for deployment in deployments
            for index in range(deployment.replicas)
        ]
        self._published = asyncio.Event()
        self._cleared = asyncio.Event()

    def told(self, number: signal.Signals) -> None:
        """Take that this process was told to end, by *number*: with its engines or without."""
        self.leaves_engines = self.leaves_engines and self.engines.left_by(number)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Adopt or start every replica and publish each change within the block; then leave or stop them all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.house.take(HOUSE_SECONDS)
        try:
            async with heard(self.desk, self.reports), self._looked_after():
                yield
        finally:
            if self.cluster is not None:
                await self.cluster.close()
            self.house.release()

    @contextlib.asynccontextmanager
    async def _looked_after(self) -> AsyncIterator[None]:
        there = [replica for replica in self.replicas if replica.is_there()]
        tasks = [asyncio.create_task(self._start(replica, now=replica in there)) for replica in self.replicas]
        tasks += [asyncio.create_task(self._follow(there)), asyncio.create_task(self._clear())]
        tasks += [asyncio.create_task(self.demand.run())]
        try:
            yield
        finally:
            await ended(tasks)
            if self.leaves_engines:  # the workers of now and those to come find what is published still true
                await asyncio.gather(*(replica.leave() for replica in self.replicas))
            else:
                await asyncio.gather(*(replica.stop() for replica in self.replicas), return_exceptions=True)
                await self.publish()

    async def _follow(self, there: Sequence[Replica]) -> None:
        """Publish each change: at first not before it is known which of those that run already can be used."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await asyncio.gather(*(replica.looked.wait() for replica in there))
        while True:
            self.changed.clear()
            await self.publish()
            self._published.set()
            await self.changed.wait()

    async def _clear(self) -> None:
        """End the engines that no deployment wants any more, once no worker sends anything there."""
        left = leftovers(self.folder, {folder(replica.id) for replica in self.replicas})
        if left:
            await self._published.wait()
            await end_all(left, self._drained)
        self._cleared.set()

    async def _drained(self, replica: str) -> None:
        """Return when no worker has a request at *replica*, which is none of ours, or it has had its time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain_seconds):
                while self.reports.busy(replica):  # noqa: ASYNC110 - nobody sends an event
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)

    async def publish(self) -> None:
        """Tell the workers what there is."""
        await self.publisher.publish(board.REPLICAS, [msgspec.to_builtins(r.endpoint()) for r in self.replicas])

    async def _start(self, replica: Replica, *, now: bool) -> None:
        """Start one, or *now* adopt it; a model that fails leaves the others alone.

        No request came to it yet, whose words its log had. What is not wanted any more may have the GPU until then.
        """
        if not now:
            if replica.on_demand:
                replica.rest()
                return
            await self._cleared.wait()
        try:
            await replica.ensure_ready()
        except StartFailed as error:
            written = replica.deployment.engine is not Engine.EXTERNAL
            log.error("%s", banner.failure(error, replica.process.log if written else None))  # noqa: TRY400


async def show_progress(settings: Settings, replicas: Replicas, client_key: str | None) -> None:
    """Say what is loading until nothing is, then how to use it."""
    progress, began = banner.Progress(), time.monotonic()
    coming = {ReplicaState.STOPPED, ReplicaState.STARTING}
    while True:
        loading = [r.id for r in replicas.replicas if r.state in coming and not r.asleep]
        if not loading:
            break
        progress.show(f"loading {', '.join(loading)}", time.monotonic() - began)
        await asyncio.sleep(PROGRESS_SECONDS)
    progress.end()
    states = {r.id: "loaded on demand" if r.asleep else r.state.value for r in replicas.replicas}
    banner.say("\n".join(f"{name}: {state}" for name, state in states.items()))
    ready = [r.deployment for r in replicas.replicas if r.state is ReplicaState.READY or r.asleep]
    uses = {d.model: "embeddings" if "embed" in d.tasks else "chat" for d in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
