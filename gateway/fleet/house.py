"""What all engines of a machine share: one owner, what the workers say of them, and whether they outlive the owner."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path

from backends.deployment import Deployment
from backends.discovery import ByName
from backends.launch import ray as on_ray
from backends.leftovers import end_all, leftovers
from backends.ownership import Ownership
from backends.process import Outlive
from backends.record import folder
from backends.replica import DRAIN_SECONDS, Replica
from backends.traffic import Reports
from gateway.ray import cluster
from gateway.reports import heard, reports_path
from gateway.settings import Engines, Ray, Settings

OWNER_SECONDS = 10.0
"""For a control process before this one to let go of the engines."""
LOOK_SECONDS = 0.1


class House:
    """The engines' directory below *data_dir*, and what *workers* report; *leaves*: whether engines may live on."""

    def __init__(  # noqa: PLR0913 - what the settings say of all engines
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        engines: Engines = Engines(),  # noqa: B008 - it cannot be changed
        leaves: bool = False,
        drain_seconds: float = DRAIN_SECONDS,
        ray: Ray = Ray(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self.data_dir = data_dir
        self.engines = engines
        self.drain_seconds = drain_seconds
        self.folder = data_dir.resolve() / "engines"
        self.owner = Ownership(self.folder / "owner")
        self.leaves_engines = leaves and engines.outlive != "nothing"
        """Whether engines live on when this process ends; see `told`."""
        self.outlive = Outlive(self.owner.path, engines.orphan_seconds) if self.leaves_engines else None
        self.reports = Reports(workers)
        self.cluster = cluster(ray, self.folder)

    @classmethod
    def of(cls, settings: Settings) -> "House":
        """Return the one that *settings* want; the embedded models, which they do not name, end with this process."""
        return cls(
            settings.data_dir,
            workers=settings.worker_count,
            engines=settings.engines,
            leaves=settings.deployments is not None,
            drain_seconds=settings.timeouts.drain_seconds,
            ray=settings.ray,
        )

    def told(self, number: signal.Signals) -> None:
        """Take that this process was told to end, by *number*: with its engines or without."""
        self.leaves_engines = self.leaves_engines and self.engines.left_by(number)

    @contextlib.asynccontextmanager
    async def owned(self) -> AsyncIterator[None]:
        """Be the owner of the engines within the block, and hear the workers."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self.owner.take(OWNER_SECONDS)
        try:
            async with heard(reports_path(self.data_dir), self.reports):
                yield
        finally:
            await self.cluster.close()
            self.owner.release()

    def replica(
        self, deployment: Deployment, index: int, on_change: Callable[[], None], room: Callable[[], Awaitable[object]]
    ) -> Replica:
        """Return a replica that lives here; see `Replica` for *on_change* and *room*."""
        if deployment.discover is not None:
            return ByName(deployment, self.folder, on_change=on_change)
        return Replica(
            deployment,
            index,
            self.folder,
            on_change=on_change,
            outlive=self.outlive,
            log_bytes=self.engines.log_bytes,
            traffic=self.reports,
            drain_seconds=self.drain_seconds,
            room=room,
            cluster=self.cluster,
        )

    def left_over(self, replicas: Collection[str]) -> list[Path]:
        """Return the directories of engines that run and are none of *replicas*."""
        names = {folder(replica) for replica in replicas}
        return [*leftovers(self.folder, names), *on_ray.leftovers(self.folder, names)]

    async def clear(self, left: Collection[Path]) -> None:
        """End the engines in *left*, once no worker sends anything there; return when they are gone."""
        there = [run_dir for run_dir in left if (run_dir / on_ray.MARK).exists()]
        here = end_all([run_dir for run_dir in left if run_dir not in there], self._drained)
        await asyncio.gather(here, *(on_ray.end_leftover(one, self.cluster, self._drained) for one in there))

    async def _drained(self, replica: str) -> None:
        """Return when no worker has a request at *replica*, which is none of ours, or it has had its time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.drain_seconds):
                while self.reports.busy(replica):  # noqa: ASYNC110 - nobody sends an event
                    await asyncio.sleep(LOOK_SECONDS)
