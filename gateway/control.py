"""The control process: `python -m gateway.control PARENT`, started by `gateway serve`.

Owns the replicas and the admin API, and publishes what the workers have to know.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator

import msgspec
import uvicorn
import uvloop
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from backends.deployment import Deployment, Engine, check
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from gateway import banner, embedded
from gateway.admin.app import create_app
from gateway.admin.services import AdminServices, KeywordServices
from gateway.audit.errors import AuditUnavailable
from gateway.audit.heads import Exporter, signer
from gateway.audit.retention import Retention
from gateway.audit.writer import closed, open_writer
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.keyword_versions import KeywordVersions, ensure_first
from gateway.logs import configure
from gateway.parent import end_within, leave, tie_as_told
from gateway.people.ledger import Ledger
from gateway.people.rebuild import Rebuilder
from gateway.serve import EXIT_CONFIG, control_stop_seconds
from gateway.settings import Settings, SettingsInvalid, load
from gateway.state import board, sql
from gateway.state.librarian import Librarian
from gateway.state.redis import connect
from keywords import starter

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


class Server(uvicorn.Server):
    """uvicorn without its own signals.

    Once it has stopped it sends this process the signal again, whose default then ends it at once: engines, database
    and state were left as they stood. Here SIGTERM and SIGINT, also one that came before it ran, end `serve` alone.
    """

    def obey_signals(self, stop_seconds: float) -> None:
        """Let the signals end it, from now on; the process has ended *stop_seconds* after the first one."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end, stop_seconds)

    def _end(self, stop_seconds: float) -> None:
        if not self.should_exit:
            end_within(stop_seconds)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def running(task: "asyncio.Task[None]") -> AsyncIterator[None]:
    """Run *task* beside the block, and end it with the block."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def open_keywords(
    settings: Settings, engine: AsyncEngine, redis: "Redis", publisher: board.Publisher
) -> tuple[Librarian, KeywordServices]:
    """Return who brings the keyword library to the workers, and what admins work on; make the first version."""
    versions = KeywordVersions(engine, settings.keywords.matcher)
    librarian = Librarian(redis, publisher, versions, settings.keywords.ready_seconds)
    services = KeywordServices.over(engine, settings.keywords, librarian.poke)
    await ensure_first(services.store, versions, starter.entries if settings.keywords.starter else tuple)
    return librarian, services


@contextlib.asynccontextmanager
async def records(settings: Settings, redis: "Redis") -> AsyncIterator[None]:
    """Within the block, sign the heads of the audit log, keep it to its age, and the standings in line with it."""
    root, secret = settings.data_dir / "audit", settings.audit.signing_key
    writer = open_writer(root, "control")
    signing = signer(root, secret.get_secret_value() if secret is not None else None, make=True)
    if signing is None:
        raise AuditUnavailable("there is no key to sign its heads with")
    work = [
        Exporter(root, signing, settings.audit.heads_copy).run(),
        Retention(root, settings.audit.retention_days, signing, writer).run(),
    ]
    if settings.strikes.enabled:
        work.append(Rebuilder(Ledger(redis, settings.strikes.rule()), root).run())
    try:
        async with contextlib.AsyncExitStack() as stack:
            for one in work:
                await stack.enter_async_context(running(asyncio.create_task(one)))
            yield
    finally:
        await closed(writer)


async def run(settings: Settings, deployments: tuple[Deployment, ...]) -> None:
    """Serve the admin API and keep the replicas until told to stop; then end the API, the engines, the database."""
    redis = connect(settings)
    publisher = board.Publisher(board.Board(redis))
    async with sql.opened(settings) as engine, records(settings, redis):
        store = KeyStore(engine, lambda: publisher.refresh(board.KEYS))
        admins = AdminKeys(engine)
        made = await ensure_first_keys(store, admins, settings)
        await publisher.follow(board.KEYS, store)
        banner.say(banner.first_keys(made))
        librarian, keywords = await open_keywords(settings, engine, redis, publisher)
        replicas = Replicas(settings, deployments, publisher)
        config = uvicorn.Config(
            create_app(AdminServices(keys=store, admins=admins, redis=redis, keywords=keywords)),
            host=settings.admin_host,
            port=settings.admin_port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        gc.collect()
        gc.freeze()  # a pass over all that was imported and set up would hold the loop for 60 ms, again and again
        server = Server(config)
        server.obey_signals(control_stop_seconds(settings))
        async with (
            running(asyncio.create_task(publisher.run())),
            running(asyncio.create_task(librarian.run())),
            running(asyncio.create_task(replicas.run())),
            running(asyncio.create_task(show_progress(settings, replicas, made.get("client")))),
        ):
            await server.serve()
    await redis.aclose()


def main() -> None:
    """Start the control process."""
    tie_as_told(sys.argv[1:])
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
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, deployments))
            leave(0)  # something may be being measured or built
    except (
        sql.DatabaseUnavailable,
        AuditUnavailable,
    ) as error:  # it may come back: the parent starts this process again
        log.error("%s", error)  # noqa: TRY400
        sys.exit(1)


def _config_error(text: str) -> int:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the person who started it reads this
    return EXIT_CONFIG


if __name__ == "__main__":
    main()
