"""What a worker is made of: built, connected and closed here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from redis.asyncio import Redis

from backends.endpoint import Endpoint, ReplicaState
from backends.pool import Pool
from backends.upstream import Upstream
from gateway.audit.record import Unrecorded
from gateway.keys import KeyRing
from gateway.metrics import Metrics
from gateway.people.standing import AllGood
from gateway.relay.stages import Stages
from gateway.settings import Settings
from gateway.state import board
from gateway.state.redis import connect
from policies.input_policy import Open
from policies.stream_guard import Through

FLUSH_SECONDS = 1.0
_ORDER = (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING, ReplicaState.FAILED, ReplicaState.STOPPED)


class Services:
    """The parts of one worker process."""

    def __init__(self, settings: Settings, redis: "Redis", metrics: Metrics) -> None:
        self.settings = settings
        self.redis = redis
        self.metrics = metrics
        self.ring = KeyRing({})
        self.has_keys = False
        secrets = {d.model: d.api_key.get_secret_value() for d in settings.deployments or () if d.api_key is not None}
        self.upstream = Upstream()
        self.pool = Pool(self.upstream, credentials=secrets, connect_seconds=settings.timeouts.connect_seconds)
        self.stages = Stages(
            standings=AllGood(),
            policy=Open(),
            guard=Through,
            audit=Unrecorded(),
            pool=self.pool,
            metrics=metrics,
            limits=settings.limits,
            timeouts=settings.timeouts,
        )
        callbacks: dict[str, Callable[[Any], None]] = {board.KEYS: self.take_keys, board.REPLICAS: self.take_replicas}
        self.follower = board.Follower(board.Board(redis), callbacks)

    def take_keys(self, document: dict[str, Any]) -> None:
        """Use a newly published set of client keys."""
        self.ring = KeyRing(document)
        self.has_keys = True

    def take_replicas(self, document: list[Any]) -> None:
        """Use a newly published list of replicas."""
        self.pool.update(msgspec.convert(document, list[Endpoint]))

    def states(self) -> dict[str, str]:
        """Return the best state of each model's replicas."""
        return {
            model: min((endpoint.state for endpoint in replicas), key=_ORDER.index).value
            for model, replicas in self.pool.models.items()
        }

    def flush_metrics(self) -> None:
        """Move what was counted to where a scrape finds it."""
        self.metrics.flush(time.monotonic(), self.pool.in_flight)

    async def flush_for_ever(self) -> None:
        """Flush the metrics once a second."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush_metrics()


@contextlib.asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Build the services of a worker, follow the published documents, and close everything at the end."""
    redis = connect(settings)
    services = Services(settings, redis, Metrics())
    flusher = asyncio.create_task(services.flush_for_ever())
    try:
        await services.follower.start()
        yield services
    finally:
        flusher.cancel()
        await services.follower.stop()
        services.flush_metrics()
        services.upstream.close()
        await redis.aclose()
