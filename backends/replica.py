"""One replica: its process, its state, and what brings it back."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from backends.deployment import Deployment, Engine
from backends.endpoint import Endpoint, ReplicaState
from backends.engines import FAMILIES
from backends.errors import StartFailed
from backends.ports import free_port, is_free
from backends.probe import MODELS_PATH, Probe, address, served_name
from backends.process import Process
from backends.restart import BACK_OFF, Restarts

log = logging.getLogger(__name__)

MISSES = 3
"""Probes in a row that a ready replica may miss."""
PORT_TRIES = 3
"""Ports that are tried where none is fixed: each was free, and another process may be quicker to take it."""
PORT_SECONDS = 10.0
"""Beside the grace of an engine that is still stopping, for its port to become free. After the owner was killed, its
engine goes on for so long."""
SETTLED = {ReplicaState.READY, ReplicaState.FAILED, ReplicaState.STOPPED}
"""States that stay until something happens; the others are on their way to one of these."""


class Replica:
    """One replica of a deployment. It has one owner, who starts and stops it; everybody else is told.

    *on_change* is called, in the event loop, whenever `endpoint` answers something new; it must not raise. *host* is
    one address of several that the name of an external engine stands for. *clock*, *back_off*, *poll_seconds* (while
    starting, while ready) and *port_seconds* are arguments for the tests' sake.
    """

    def __init__(  # noqa: PLR0913 - the last ones are for tests
        self,
        deployment: Deployment,
        index: int,
        run_dir: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
        back_off: Sequence[float] = BACK_OFF,
        poll_seconds: tuple[float, float] = (0.1, 5.0),
        port_seconds: float = PORT_SECONDS,
    ) -> None:
        self.deployment = deployment
        self.index = index
        self.id = f"{deployment.model}#{index}"
        self.family = FAMILIES[deployment.engine]
        self.on_change = on_change
        self.clock = clock
        self.back_off = back_off
        self.poll_seconds = poll_seconds
        self.port_seconds = deployment.stop_grace_seconds + port_seconds
        self.created = int(time.time())
        self.state = ReplicaState.STOPPED
        self.last_error: StartFailed | None = None
        self.served_name = self.family.served_name(deployment)
        self.address = address(deployment, deployment.port_of(index) or 0)
        if host:
            self.address = self.address._replace(host=host)
        safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in self.id)
        self.process = Process(run_dir / safe, deployment.stop_grace_seconds)
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._changing = asyncio.Lock()

    async def ensure_ready(self) -> None:
        """Return once the engine answers its health probe.

        ready: at once; starting, or on its way back after a crash: wait; stopped or failed: start and wait; stopping:
        wait, then start. Raises `StartFailed` with the engine's last log lines. Safe to call from many tasks;
        cancelling a call leaves the replica as it is.
        """
        async with self._changing:
            if self._task is None or self._task.done():
                self._set(ReplicaState.STARTING)
                self._task = asyncio.create_task(self._run())
        while self.state is not ReplicaState.READY:
            await self._settled.wait()
            if self.state is ReplicaState.FAILED and self.last_error is not None:
                raise self.last_error
            if self.state is ReplicaState.STOPPED:
                raise StartFailed(f"{self.id} was stopped while it started")

    async def stop(self) -> None:
        """End the process, if one runs, and stay stopped. Return when nothing of it is left."""
        async with self._changing:
            if self._task is not None:
                if not self._task.done():
                    self._set(ReplicaState.DRAINING)
                    self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                self._task = None
            await self.process.stop()
            self._set(ReplicaState.STOPPED)

    def endpoint(self) -> Endpoint:
        """Return the replica as those see it who send requests to it."""
        names = tuple(name for name in self.deployment.all_names if name != self.deployment.model)
        return Endpoint(
            replica=self.id,
            model=self.deployment.model,
            aliases=names,
            adapters=self.deployment.adapter_models,
            engine=self.deployment.engine.value,
            served_name=self.served_name,
            host=self.address.host,
            port=self.address.port,
            tls=self.address.tls,
            base_path=self.address.base_path,
            state=self.state,
            slots=self.family.slots(self.deployment),
            notices_late=self.family.notices_late,
            max_in_flight=self.deployment.max_in_flight,
            routing=self.deployment.routing.value,
            tasks=self.deployment.tasks,
            created=self.created,
        )

    def _set(self, state: ReplicaState, error: StartFailed | None = None) -> None:
        self.last_error = error or (None if state is ReplicaState.READY else self.last_error)
        if state is self.state:
            return
        self.state = state
        if state in SETTLED:
            self._settled.set()
        else:
            self._settled.clear()
        log.info("%s is %s", self.id, state.value)
        self.on_change()

    async def _run(self) -> None:
        """Keep the replica in the state it should have until cancelled, or until it has failed."""
        try:
            await (self._follow() if self.deployment.engine is Engine.EXTERNAL else self._keep_alive())
        except Exception as error:
            log.exception("%s has no owner any more", self.id)
            self._set(ReplicaState.FAILED, StartFailed(f"{self.id}: {error}"))

    async def _keep_alive(self) -> None:
        """Start the engine, watch it, start it again; give up after quick ends in a row."""
        restarts = Restarts(self.back_off)
        while True:
            ready_at = None
            await self.process.stop()  # whatever an interrupted stop has left
            try:
                await self._start()
                ready_at = self.clock()
                self._set(ReplicaState.READY)
                reason = await self._until_lost()
            except StartFailed as failure:
                reason = str(failure)
            except OSError as failure:
                reason = f"its process cannot be started: {failure}"
            pause = restarts.after(None if ready_at is None else self.clock() - ready_at)
            self._set(ReplicaState.STARTING, StartFailed(f"{self.id}: {reason}", self.process.tail()))
            await self.process.stop()
            error = StartFailed(f"{self.id}: {reason}", self.process.tail())
            log.warning("%s; its log: %s", error, self.process.log)
            if pause is None:
                self._set(ReplicaState.FAILED, error)
                return
            await asyncio.sleep(pause)

    async def _start(self) -> None:
        """Start the engine and wait until it is healthy. Raises `StartFailed` and OSError."""
        host, fixed = self.deployment.host, self.deployment.port_of(self.index)
        if fixed is not None:
            await self._until_free(host, fixed)
        for _ in range(PORT_TRIES):
            port = fixed or free_port(host)
            ended = await self._end_on(port)
            if ended is None:
                return
            if fixed is not None or is_free(host, port):
                break
            log.warning("%s: port %d was taken by another process before the engine had it", self.id, port)
            await self.process.stop()
        raise StartFailed(f"the engine ended with {ended} while it started")

    async def _end_on(self, port: int) -> int | None:
        """Start the engine on *port*; return None once it is healthy, else its exit status. Raises `StartFailed`."""
        if self.family.command is None:
            return None
        self.address = address(self.deployment, port)
        await self.process.start(self.family.command(self.deployment, port, self.index))
        seconds = self.deployment.start_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._end_or(self._until_healthy())
        except TimeoutError:
            raise StartFailed(f"the engine was not healthy after {seconds:g} s") from None

    async def _until_free(self, host: str, port: int) -> None:
        """Wait for a port that an engine before this one may still have. Raises `StartFailed`."""
        if is_free(host, port):
            return
        taken = f"port {port} of {host} is taken by another process"
        log.warning("%s: %s; waiting %g s for it", self.id, taken, self.port_seconds)
        try:
            async with asyncio.timeout(self.port_seconds):
                while not is_free(host, port):  # noqa: ASYNC110 - the kernel sends no event
                    await asyncio.sleep(self.poll_seconds[0])
        except TimeoutError:  # whoever listens there would be taken for the engine
            raise StartFailed(taken) from None

    async def _until_lost(self) -> str:
        """Return why the replica is not ready any more: its process ended, or it missed its probes."""
        ended = await self._end_or(self._until_missed())
        if ended is not None:
            return f"the engine ended with {ended}"
        return f"the engine missed {MISSES} health probes in a row"

    async def _end_or(self, watch: Coroutine[Any, Any, None]) -> int | None:
        """Return the process's exit status when it ends, or None when *watch* returns before."""
        ended = asyncio.create_task(self.process.wait())
        watching = asyncio.create_task(watch)
        try:
            await asyncio.wait({ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            return watching.result()
        finally:
            ended.cancel()
            watching.cancel()
            await asyncio.gather(ended, watching, return_exceptions=True)

    async def _until_healthy(self) -> None:
        async with Probe(self.deployment, self.address) as probe:
            while not await probe.healthy(self.family.health_path):  # noqa: ASYNC110 - the engine sends no event
                await asyncio.sleep(self.poll_seconds[0])

    async def _until_missed(self) -> None:
        misses = 0
        async with Probe(self.deployment, self.address) as probe:
            while misses < MISSES:
                await asyncio.sleep(self.poll_seconds[1])
                misses = 0 if await probe.healthy(self.family.health_path) else misses + 1

    async def _follow(self) -> None:
        """Follow the health of an engine that someone else runs; it may come and go."""
        misses = MISSES - 1  # before it answers for the first time, one miss is enough to say so
        async with Probe(self.deployment, self.address) as probe:
            while True:
                trouble = await self._trouble(probe)
                misses = 0 if trouble is None else misses + 1
                if misses >= MISSES:
                    self._set(ReplicaState.FAILED, StartFailed(f"{self.id}: {trouble}"))
                await asyncio.sleep(self.poll_seconds[1])

    async def _trouble(self, probe: Probe) -> str | None:
        """Return why an external engine cannot be used; None: it can, and the name under which it serves is noted.

        Its health may be open to everybody (vLLM's is) while the rest wants a key: so one question is asked with it.
        """
        if not await probe.healthy(self.family.health_path, MODELS_PATH):
            return probe.complaint()
        if self.state is ReplicaState.READY:
            return None
        name = served_name(self.deployment, await probe.models())
        if probe.refused:
            return probe.complaint()
        self.served_name = name
        self._set(ReplicaState.READY)
        return None
