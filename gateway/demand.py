"""Models that are loaded on demand: unloaded when nobody has asked for `idle_seconds`, loaded when somebody does."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.replica import Replica
from backends.traffic import Reports
from gateway.tasks import ended

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5


class Demand:
    """Loads and unloads the replicas of each model together. *replicas* returns all of this machine."""

    def __init__(self, replicas: Callable[[], Sequence[Replica]], reports: Reports) -> None:
        self.replicas = replicas
        self.reports = reports
        self._seen: dict[str, object] = {}
        """Of each model, what its replicas had sent when it was looked at last."""
        self._used: dict[str, float] = {}
        """Of each model, the moment at which somebody had use for it last."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Load and unload until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.look(loop.time())
                self.reports.came.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self.reports.came.wait()
        finally:
            await ended(self._tasks)

    def look(self, now: float) -> None:
        """Look once at each model that is loaded on demand."""
        wanted = self.reports.wanted()
        models: dict[str, list[Replica]] = {}
        for replica in self.replicas():
            if replica.on_demand:
                models.setdefault(replica.deployment.model, []).append(replica)
        for model, replicas in models.items():
            if self._is_used(model, replicas, now, wanted=model in wanted):
                self._load(replicas if model in wanted else ())
            elif now - self._used[model] >= (replicas[0].deployment.idle_seconds or 0):
                self._unload(replicas)

    def _is_used(self, model: str, replicas: Sequence[Replica], now: float, *, wanted: bool) -> bool:
        """Return whether somebody has use for *model*, or had since the last look."""
        activity = [self.reports.activity(replica.id) for replica in replicas]
        coming = any(replica.state is ReplicaState.STARTING for replica in replicas)  # its time begins when it is ready
        running = any(requests for requests, _ in activity)
        used = wanted or coming or running or self._seen.get(model) != activity
        self._seen[model] = activity
        if used or model not in self._used:
            self._used[model] = now
        return used

    def _load(self, replicas: Sequence[Replica]) -> None:
        for replica in replicas:
            if replica.asleep or replica.state is ReplicaState.DRAINING:
                log.info("%s is wanted", replica.id)
                replica.asleep = False
                self._go_on(replica, load=True)

    def _unload(self, replicas: Sequence[Replica]) -> None:
        for replica in replicas:
            if replica.state is ReplicaState.READY:
                log.info("%s had no request for %g s and is unloaded", replica.id, replica.deployment.idle_seconds)
                self._go_on(replica, load=False)

    def _go_on(self, replica: Replica, *, load: bool) -> None:
        """Bring *replica* up or down beside all others."""

        async def go_on() -> None:
            try:
                await (replica.ensure_ready() if load else replica.unload())
            except StartFailed as error:
                log.error("%s", error)  # noqa: TRY400 - its log has the rest, and maybe people's words

        task = asyncio.create_task(go_on())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
