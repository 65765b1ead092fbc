"""What a worker is made of: built, connected and closed here."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from typing import Any

import msgspec
from redis.asyncio import Redis

from backends.endpoint import Endpoint, ReplicaState
from backends.pool import Pool, Share, Waiting
from backends.signals import Listener
from backends.upstream import Upstream
from gateway.audit.log import Chain, Log
from gateway.audit.record import Audit, Unrecorded
from gateway.audit.texts import Texts
from gateway.audit.writer import closed, open_writer
from gateway.keys import Caller, KeyRing
from gateway.limits.limiter import Limiter
from gateway.limits.meter import Meter
from gateway.metrics import Metrics
from gateway.people.directory import Directory
from gateway.people.ledger import Ledger
from gateway.people.standing import Kept, Standings, Uncounted
from gateway.people.watch import Watch
from gateway.problems import Problem
from gateway.relay.stages import Stages
from gateway.reports import report, reports_path
from gateway.settings import Settings
from gateway.state import board, credentials
from gateway.state.redis import connect
from gateway.state.shelf import Shelf
from gateway.tasks import ended
from keywords.library import Library
from policies.canary import Beside
from policies.input_policy import Keywords
from policies.stream_guard import keyword_guards

log = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
LOOK_SECONDS = 0.02
_ORDER = (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING, ReplicaState.FAILED, ReplicaState.STOPPED)


class NoKeysYet(KeyRing):
    """The keys of a worker that has not heard of any: nobody's key is wrong."""

    def __init__(self) -> None:
        super().__init__({})

    def caller(self, authorization: bytes | None, now: float) -> Caller:
        """Raise the 503 that has clients come again."""
        del authorization, now
        text = "The gateway does not know its keys yet."
        raise Problem(503, text, kind="server_error", code="starting", retry_after=1)


class Services:
    """The parts of one worker process, the one with *index* among its like."""

    def __init__(
        self, settings: Settings, redis: "Redis", metrics: Metrics, chain: Chain | None = None, *, index: int = 0
    ) -> None:
        self.settings = settings
        self.redis = redis
        self.metrics = metrics
        self.chain = chain
        self.ring: KeyRing = NoKeysYet()
        self.has_keys = False
        secrets = {d.model: d.api_key.get_secret_value() for d in settings.deployments or () if d.api_key is not None}
        self.upstream = Upstream()
        self.pool = Pool(
            self.upstream,
            credentials=secrets,
            connect_seconds=settings.timeouts.connect_seconds,
            share=Share(index, max(settings.worker_count, index + 1)),
            waiting=Waiting(settings.queue.places, settings.queue.seconds),
        )
        self.directory = Directory()
        limits = settings.limits
        self.limiter = Limiter(Meter(redis), limits.key, limits.person, closed=limits.state_away == "closed")
        self.watch = Watch(Ledger(redis, settings.strikes.rule()))
        self.stages = Stages(
            standings=self._standings(),
            policy=Beside(Keywords(lambda: self.library, metrics.keyword), lambda: self.canary, metrics.canary_verdict),
            guard=keyword_guards(lambda: self.library, metrics.keyword),
            audit=self._audit(chain),
            pool=self.pool,
            metrics=metrics,
            limiter=self.limiter,
            limits=limits,
            timeouts=settings.timeouts,
            labels=settings.labels,
            strikes=settings.strikes,
            queue=settings.queue,
        )
        self.shelf = Shelf(redis, build=partial(Library.build, library=settings.keywords.matcher))
        callbacks: dict[str, Callable[[Any], None]] = {
            board.KEYS: self.take_keys,
            board.replicas_of(settings.node): self.take_replicas,
            board.KEYWORDS: self.shelf.take,
            board.PEOPLE: self.directory.take,
        }
        self.follower = board.Follower(board.Board(redis), callbacks)

    def _audit(self, chain: Chain | None) -> Audit:
        """Return where turns are put on record: on *chain*, or nowhere."""
        if chain is None:
            return Unrecorded()
        settings = self.settings.audit
        policy = sha256(self.settings.strikes.model_dump_json().encode()).hexdigest()[:16]
        return Log(chain, Texts(settings.texts, settings.masked), lambda: str(self.shelf.library.version), policy)

    def _standings(self) -> Standings:
        if not self.settings.strikes.enabled:
            return Uncounted(self.directory)
        return Kept(self.watch.ledger, self.watch, self.directory, closed=self.settings.strikes.state_away == "closed")

    @property
    def library(self) -> Library:
        """The live keyword library. Raises the 503 that has clients come again until the first is here."""
        if not self.shelf.has_library:
            text = "The gateway does not have its keyword library yet."
            raise Problem(503, text, kind="server_error", code="starting", retry_after=1)
        return self.shelf.library

    @property
    def canary(self) -> Library | None:
        """The keyword library that is only counted."""
        return self.shelf.canary

    @property
    def has_library(self) -> bool:
        """Whether the first keyword library is here."""
        return self.shelf.has_library

    async def judging(self, seconds: float) -> None:
        """Return once there are keys and a keyword library, or after *seconds*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.has_keys and self.has_library):  # noqa: ASYNC110 - two parts, told apart by nobody
                    await asyncio.sleep(LOOK_SECONDS)

    def take_keys(self, document: dict[str, Any]) -> None:
        """Use a newly published set of client keys."""
        self.ring = KeyRing(document)
        self.has_keys = True

    def take_replicas(self, document: list[Any]) -> None:
        """Use a newly published list of replicas."""
        endpoints = msgspec.convert(document, list[Endpoint])
        self.pool.credentials = credentials.read(self.settings.data_dir, self.pool.credentials)
        self.pool.update(endpoints)

    def states(self) -> dict[str, str]:
        """Return the best state of each model's replicas."""
        return {
            model: min((endpoint.state for endpoint in replicas), key=_ORDER.index).value
            for model, replicas in self.pool.models.items()
        }

    @property
    def has_models(self) -> bool:
        """Whether a request for some model is answered: it is ready, or loaded on demand."""
        endpoints = [endpoint for replicas in self.pool.models.values() for endpoint in replicas]
        return any(endpoint.state is ReplicaState.READY or endpoint.wakes for endpoint in endpoints)

    def flush_metrics(self) -> None:
        """Move what was counted to where a scrape finds it."""
        self.metrics.flush(time.monotonic(), self.pool.in_flight)
        self.metrics.audit.trouble.set(self.chain is not None and self.chain.trouble is not None)
        self.metrics.audit.settle_lag.set(0.0 if self.chain is None else self.chain.lag_seconds)
        for model, number in self.pool.queued.items():
            self.metrics.queued.labels(model).set(number)

    async def flush_for_ever(self) -> None:
        """Flush the metrics once a second, whatever comes of it."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                self.flush_metrics()
            except Exception:
                log.exception("the metrics cannot be moved")


@contextlib.asynccontextmanager
async def open_services(settings: Settings, index: int = 0) -> AsyncIterator[Services]:
    """Build the services of a worker, follow the published documents, and close everything at the end."""
    redis = connect(settings)
    writer = open_writer(
        settings.data_dir / "audit",
        "w",
        power=settings.audit.durability == "power",
        segment_bytes=settings.audit.segment_bytes,
    )
    services = Services(settings, redis, Metrics(), writer, index=index)
    services.metrics.build.labels(version("safety-gateway")).set(1)
    listener = Listener(services.upstream, services.pool.lines)
    parts = (services.shelf, services.watch, services.limiter, listener)
    reporting = report(reports_path(settings.data_dir), services.pool)
    work = (services.flush_for_ever(), reporting, *(part.run() for part in parts))
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await services.follower.start()
        yield services
    finally:
        await ended(tasks)
        await services.follower.stop()
        services.flush_metrics()
        services.upstream.close()
        await closed(writer)
        await services.limiter.meter.close()
        await redis.aclose()
