"""The engines of this machine, owned by the control process."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import msgspec

from backends.deployment import Deployment, Engine
from backends.discovery import Discovered
from backends.endpoint import Endpoint, ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from gateway import banner
from gateway.audit.slots import node
from gateway.settings import Settings
from gateway.state import board
from gateway.tasks import ended

PROGRESS_SECONDS = 1.0

log = logging.getLogger(__name__)


class Replicas:
    """All replicas of this machine, and the list of them that the workers follow."""

    def __init__(self, settings: Settings, deployments: tuple[Deployment, ...], publisher: board.Publisher) -> None:
        self.publisher = publisher
        self.changed = asyncio.Event()
        self.document = board.replicas_of(node(settings.data_dir / "audit"))
        run_dir = settings.data_dir / "engines"
        self.replicas = [
            Replica(deployment, index, run_dir, on_change=self.changed.set)
            for deployment in deployments
            if deployment.discover is None
            for index in range(deployment.replicas)
        ]
        self.discovered = [
            Discovered(deployment, run_dir, on_change=self.changed.set)
            for deployment in deployments
            if deployment.discover is not None
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start every replica and publish each change within the block; then stop them all."""
        tasks = [asyncio.create_task(self._start(replica)) for replica in self.replicas]
        tasks += [asyncio.create_task(found.run()) for found in self.discovered]
        tasks.append(asyncio.create_task(self._follow()))
        try:
            yield
        finally:
            await ended(tasks)
            stops = [*(one.stop() for one in self.replicas), *(found.stop() for found in self.discovered)]
            await asyncio.gather(*stops, return_exceptions=True)
            await self.publish()

    async def _follow(self) -> None:
        while True:
            self.changed.clear()
            await self.publish()
            await self.changed.wait()

    async def publish(self) -> None:
        """Tell the workers what there is."""
        await self.publisher.publish(self.document, [msgspec.to_builtins(endpoint) for endpoint in self.endpoints()])

    def endpoints(self) -> list[Endpoint]:
        """Return every replica, as those see it who send requests to it."""
        found = [endpoint for one in self.discovered for endpoint in one.endpoints()]
        return [*(replica.endpoint() for replica in self.replicas), *found]

    async def _start(self, replica: Replica) -> None:
        """Start one; a model that fails leaves the others alone. No request came to it yet, whose words its log had."""
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
        loading = [one.replica for one in replicas.endpoints() if one.state in coming]
        if not loading:
            break
        progress.show(f"loading {', '.join(loading)}", time.monotonic() - began)
        await asyncio.sleep(PROGRESS_SECONDS)
    progress.end()
    endpoints = replicas.endpoints()
    banner.say("\n".join(f"{one.replica}: {one.state.value}" for one in endpoints))
    ready = [one for one in endpoints if one.state is ReplicaState.READY]
    uses = {one.model: "embeddings" if "embed" in one.tasks else "chat" for one in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
