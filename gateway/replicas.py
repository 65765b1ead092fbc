"""The engines of this machine, owned by the control process."""

import asyncio
import logging
import time

import msgspec

from backends.deployment import Deployment, Engine
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from gateway import banner
from gateway.settings import Settings
from gateway.state import board

PROGRESS_SECONDS = 1.0

log = logging.getLogger(__name__)


class Replicas:
    """All replicas of this machine, and the list of them that the workers follow."""

    def __init__(self, settings: Settings, deployments: tuple[Deployment, ...], publisher: board.Publisher) -> None:
        self.publisher = publisher
        self.changed = asyncio.Event()
        self.replicas = [
            Replica(deployment, index, settings.data_dir / "engines", on_change=self.changed.set)
            for deployment in deployments
            for index in range(deployment.replicas)
        ]

    async def run(self) -> None:
        """Start every replica, and publish each change until cancelled; then stop them all."""
        starting = [asyncio.create_task(self._start(replica)) for replica in self.replicas]
        try:
            while True:
                self.changed.clear()
                await self.publish()
                await self.changed.wait()
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*(replica.stop() for replica in self.replicas), return_exceptions=True)
            await self.publish()

    async def publish(self) -> None:
        """Tell the workers what there is."""
        await self.publisher.publish(board.REPLICAS, [msgspec.to_builtins(r.endpoint()) for r in self.replicas])

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
        loading = [r.id for r in replicas.replicas if r.state in coming]
        if not loading:
            break
        progress.show(f"loading {', '.join(loading)}", time.monotonic() - began)
        await asyncio.sleep(PROGRESS_SECONDS)
    progress.end()
    states = {r.id: r.state.value for r in replicas.replicas}
    banner.say("\n".join(f"{name}: {state}" for name, state in states.items()))
    ready = [r.deployment for r in replicas.replicas if r.state is ReplicaState.READY]
    uses = {d.model: "embeddings" if "embed" in d.tasks else "chat" for d in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
