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
from collections.abc import Callable, Iterator, Mapping

import uvicorn
import uvloop
from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from backends.deployment import check
from gateway import banner
from gateway.admin.app import create_app
from gateway.admin.front import Front
from gateway.admin.recorder import Chained
from gateway.admin.services import AdminServices
from gateway.admin.staff import add_staff
from gateway.admin_store import AdminKeys
from gateway.audit.errors import AuditUnavailable
from gateway.books import kept
from gateway.fleet.deployments import Deployments
from gateway.fleet.fleet import Fleet
from gateway.fleet.house import House
from gateway.fleet.progress import show_progress
from gateway.fleet.settings_again import deployments_of
from gateway.fleet.store import DeploymentStore
from gateway.key_store import KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.keyword_versions import KeywordVersions, ensure_first
from gateway.library_age import told
from gateway.logs import configure
from gateway.metrics import LibraryMetrics
from gateway.parent import end_within, leave, tie_as_told
from gateway.proxies import Proxies
from gateway.serve import EXIT_CONFIG, control_stop_seconds
from gateway.settings import Settings, SettingsInvalid, load
from gateway.state import board, sql
from gateway.state.errors import DatabaseUnavailable
from gateway.state.librarian import Librarian
from gateway.state.redis import connect
from gateway.tasks import running
from keywords import starter

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn without its own signals.

    Once it has stopped it sends this process the signal again, whose default then ends it at once: engines, database
    and state were left as they stood. Here SIGTERM and SIGINT, also one that came before it ran, end `serve` alone.
    """

    def obey_signals(self, stop_seconds: float, heard: Callable[[signal.Signals], None]) -> None:
        """Let the signals end it, from now on; the process has ended *stop_seconds* after the first one.

        *heard* is told of each.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end, stop_seconds, number, heard)

    def _end(self, stop_seconds: float, number: signal.Signals, heard: Callable[[signal.Signals], None]) -> None:
        if not self.should_exit:
            end_within(stop_seconds)
        heard(number)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def admin_config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    """Return how the admin API is served."""
    return uvicorn.Config(
        app,
        http=Front,
        host=settings.admin_host,
        port=settings.admin_port,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn's own would believe everybody on this machine
        timeout_graceful_shutdown=5,
    )


async def open_keywords(
    settings: Settings, engine: AsyncEngine, redis: "Redis", publisher: board.Publisher
) -> tuple[Librarian, KeywordServices]:
    """Return who brings the keyword library to the workers, and what admins work on; make the first version."""
    versions = KeywordVersions(engine, settings.keywords.matcher)
    librarian = Librarian(redis, publisher, versions, settings.keywords.ready_seconds)
    services = KeywordServices.over(engine, settings.keywords, librarian.poke)
    await ensure_first(services.store, versions, starter.entries if settings.keywords.starter else tuple)
    return librarian, services


def open_deployments(
    settings: Settings, engine: AsyncEngine, publisher: board.Publisher, environment: Mapping[str, str]
) -> Deployments:
    """Return what should run on this machine; nothing is started yet."""
    fleet = Fleet(settings.node, House.of(settings), publisher)
    return Deployments(fleet, DeploymentStore(engine, settings.node), settings, environment)


async def reload_at_hangup(deployments: Deployments) -> None:
    """Read the settings again at each SIGHUP, until cancelled; what comes of it is in the log."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    while True:
        await asked.wait()
        asked.clear()
        try:
            await deployments.reload()
        except SettingsInvalid as error:
            log.error("the settings are wrong, and stay as they were:\n%s", error)  # noqa: TRY400
        except Exception:
            log.exception("the settings could not be read again")


async def run(settings: Settings, environment: Mapping[str, str]) -> None:
    """Serve the admin API and look after the engines until told to stop; then end the API, engines, the database.

    *environment*: the `GATEWAY_…` names, by which the settings are read again.
    """
    redis = connect(settings)
    publisher = board.Publisher(board.Board(redis))
    async with sql.opened(settings) as engine, kept(settings, engine, redis, publisher) as books:
        store = KeyStore(engine, lambda: publisher.refresh(board.KEYS))
        admins = AdminKeys(engine)
        made = await ensure_first_keys(store, admins, settings)
        await publisher.follow(board.KEYS, store)  # behind the bans, of `kept`: who knows the keys answers
        banner.say(banner.first_keys(made))
        librarian, keywords = await open_keywords(settings, engine, redis, publisher)
        deployments = open_deployments(settings, engine, publisher, environment)
        services = AdminServices(
            store,
            admins,
            redis,
            keywords,
            people=books.people,
            audit=books.audit,
            deployments=deployments,
            records=Chained(books.writer),
            proxies=Proxies(settings.trusted_proxies),
        )
        app = create_app(services)
        add_staff(app, books.staff.review)
        gc.collect()
        gc.freeze()  # a pass over all that was imported and set up would hold the loop for 60 ms, again and again
        server = Server(admin_config(settings, app))
        server.obey_signals(control_stop_seconds(settings), deployments.fleet.house.told)
        async with (
            running(asyncio.create_task(publisher.run())),
            running(asyncio.create_task(librarian.run())),
            running(asyncio.create_task(told(keywords.versions, LibraryMetrics()))),
            deployments.fleet.running(),
            running(asyncio.create_task(reload_at_hangup(deployments))),
        ):
            await deployments.open()
            async with running(asyncio.create_task(show_progress(settings, deployments.fleet, made.get("client")))):
                await server.serve()
    await redis.aclose()


def main() -> None:
    """Start the control process."""
    tie_as_told(sys.argv[1:])
    configure()
    try:
        settings = load()
        deployments = deployments_of(settings)
    except (SettingsInvalid, FileNotFoundError) as error:
        sys.exit(_config_error(str(error)))
    problems = check(deployments)
    if problems:
        sys.exit(_config_error("\n".join(str(problem) for problem in problems)))
    # engines inherit the environment, and our keys are not theirs to know
    environment = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("GATEWAY_")}
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, environment))
            leave(0)  # something may be being measured or built
    except (
        DatabaseUnavailable,
        AuditUnavailable,
    ) as error:  # it may come back: the parent starts this process again
        log.error("%s", error)  # noqa: TRY400
        sys.exit(1)


def _config_error(text: str) -> int:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the person who started it reads this
    return EXIT_CONFIG


if __name__ == "__main__":
    main()
