"""One replica: its process, its state, and what brings it back."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from backends.before import TRUSTED_SECONDS, as_before
from backends.deployment import Deployment, Engine
from backends.endpoint import Endpoint, ReplicaState
from backends.engines import FAMILIES
from backends.engines.family import Command
from backends.errors import StartFailed
from backends.launch import Spot, end_or
from backends.launch.choice import launcher
from backends.launch.ray_client import Cluster
from backends.probe import MODELS_PATH, Probe, address, served_name
from backends.process import LOG_BYTES, Outlive
from backends.record import About, fingerprint, folder
from backends.restart import BACK_OFF, Restarts
from backends.traffic import NoTraffic, Traffic
from backends.watch import MISSES, Watch, until_healthy

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
"""For running requests to end; the default of `timeouts.drain_seconds`."""
IDLE_LOOK_SECONDS = 0.05
PORT_TRIES = 3
"""Ports that are tried where none is fixed: each was free, and another process may be quicker to take it."""
PORT_SECONDS = 10.0
"""Beside the grace of an engine that is still stopping, for its port to become free. After the owner was killed, its
engine goes on for so long."""
WAKING = {ReplicaState.STARTING, ReplicaState.DRAINING}
"""States in which a replica that is loaded on demand soon takes requests, if some wait."""
SETTLED = {ReplicaState.READY, ReplicaState.FAILED, ReplicaState.STOPPED}
"""States that stay until something happens; the others are on their way to one of these."""


async def _there_is_room() -> None:
    """Nothing has to go first."""


class Replica:
    """One replica of a deployment. It has one owner, who starts and stops it; everybody else is told.

    *on_change* is called, in the event loop, whenever `endpoint` answers something new; it must not raise. *host* is
    one address of several that the name of an external engine stands for. *outlive* and *log_bytes* are the process's,
    *cluster* is where a deployment on Ray is placed; *traffic* tells what requests it has, and running ones get
    *drain_seconds*. An engine that is not adopted is started once *room* has returned: what is not wanted any more may
    have the GPU until then. *clock*, *back_off*, *poll_seconds* (while starting, while ready) and *port_seconds* are
    arguments for the tests' sake.
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
        outlive: Outlive | None = None,
        log_bytes: int = LOG_BYTES,
        traffic: Traffic = NoTraffic(),  # noqa: B008 - it has no state
        drain_seconds: float = DRAIN_SECONDS,
        room: Callable[[], Awaitable[object]] = _there_is_room,
        cluster: Cluster | None = None,
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
        self.traffic = traffic
        self.drain_seconds = drain_seconds
        self.room = room
        self.state = ReplicaState.STOPPED
        self.since = time.time()
        """Unix time of the last change of `state`."""
        self.asleep = False
        """Whether it is stopped for want of requests, and the next one has it started."""
        self.lingers = False
        """Whether it drains since somebody has ordered it to: no request has it back."""
        self.last_error: StartFailed | None = None
        self.served_name = self.family.served_name(deployment)
        self.address = address(deployment, deployment.port_of(index) or 0)
        if host:
            self.address = self.address._replace(host=host)
        own = run_dir / folder(self.id)
        self.process = launcher(deployment, self.id, own, cluster, outlive=outlive, log_bytes=log_bytes)
        self.looked = asyncio.Event()
        """Set once it is known whether an engine runs already: until then nobody should be told that none does."""
        self.before: tuple[Endpoint, ...] = ()
        """What those who send requests know of it from an owner before this one; they are told so until `looked`."""
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._changing = asyncio.Lock()

    @property
    def on_demand(self) -> bool:
        """Whether it is unloaded for want of requests, and loaded by the next one."""
        return self.deployment.idle_seconds is not None and not self.deployment.pinned

    def is_there(self) -> bool:
        """Return whether something runs before it was asked for: an external engine, or one that can be adopted."""
        return self.deployment.engine is Engine.EXTERNAL or self.process.is_there()

    async def ensure_ready(self) -> None:
        """Return once the engine answers its health probe.

        ready, or draining: at once; starting, or on its way back after a crash: wait; stopped or failed: start and
        wait; stopping: wait, then start. Raises `StartFailed` with the engine's last log lines. Safe to call from many
        tasks; cancelling a call leaves the replica as it is.
        """
        async with self._changing:
            self.asleep = False
            if self._task is None or self._task.done():
                self._set(ReplicaState.STARTING)
                self._task = asyncio.create_task(self._run())
            elif self.state is ReplicaState.DRAINING:
                self._set(ReplicaState.READY)
        while self.state is not ReplicaState.READY:
            await self._settled.wait()
            if self.state is ReplicaState.FAILED and self.last_error is not None:
                raise self.last_error
            if self.state is ReplicaState.STOPPED:
                raise StartFailed(f"{self.id} was stopped while it started")

    async def stop(self) -> None:
        """End the process, if one runs, and stay stopped. Return when nothing of it is left."""
        slept, self.asleep = self.asleep, False
        await self._stop()
        if slept:
            self.on_change()

    async def _stop(self) -> None:
        async with self._changing:
            self.before = ()
            if self._task is not None:
                if not self._task.done():
                    self._set(ReplicaState.DRAINING)
                    self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                self._task = None
            await self.process.stop()
            self._set(ReplicaState.STOPPED)

    async def drain(self, seconds: float | None = None, *, lingers: bool = True) -> bool:
        """Let no request come any more; return when it has none, or after *seconds* (`drain_seconds`): whether so.

        The engine goes on: `stop` ends it, `ensure_ready` takes it back, and whoever still waits here is told False.
        One that is not ready has no requests.
        """
        async with self._changing:
            if self.state in {ReplicaState.READY, ReplicaState.DRAINING}:
                self.lingers = lingers
                self._set(ReplicaState.DRAINING)
                self.on_change()
        return await self._until_idle(self.drain_seconds if seconds is None else seconds)

    async def unload(self) -> None:
        """End the engine as soon as no request is there, to be started by the next one; none is cut, ever."""
        if await self.drain(math.inf, lingers=False) and self.state is ReplicaState.DRAINING and not self.lingers:
            self.rest()
            await self._stop()

    def rest(self) -> None:
        """Be started by the next request, not before."""
        self.asleep = True
        self.on_change()

    async def _until_idle(self, seconds: float) -> bool:
        """Return True once no request is there; False after *seconds*, or where they may come again."""
        give_up = time.monotonic() + seconds
        while self.traffic.busy(self.id, self.since):
            if self.state is ReplicaState.READY or time.monotonic() >= give_up:
                return False
            await asyncio.sleep(IDLE_LOOK_SECONDS)
        return self.state is not ReplicaState.READY

    async def leave(self) -> None:
        """Look after it no longer, and leave the engine running for somebody else to adopt; its state stays."""
        async with self._changing:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                self._task = None
            self.process.let_go()

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
            since=self.since,
            lingers=self.lingers,
            wakes=self.on_demand and not self.lingers and (self.asleep or self.state in WAKING),
            created=self.created,
        )

    def endpoints(self) -> list[Endpoint]:
        """Return all that it is for those who send requests: one, but for `backends.discovery.ByName`."""
        return as_before(self.endpoint(), self.before)

    def _has_looked(self) -> None:
        before, self.before = self.before, ()
        self.looked.set()
        if before:
            self.on_change()

    def _set(self, state: ReplicaState, error: StartFailed | None = None) -> None:
        self.last_error = error or (None if state is ReplicaState.READY else self.last_error)
        if state is self.state:
            return
        self.state, self.since = state, time.time()
        self.lingers = self.lingers and state is ReplicaState.DRAINING
        if state in SETTLED:
            self._settled.set()
        else:
            self._settled.clear()
        log.info("%s is %s", self.id, state.value)
        self.on_change()

    async def _run(self) -> None:
        """Keep the replica in the state it should have until cancelled, or until it has failed."""
        trusted = asyncio.get_running_loop().call_later(TRUSTED_SECONDS, self._has_looked)
        try:
            await (self._follow() if self.deployment.engine is Engine.EXTERNAL else self._keep_alive())
        except Exception as error:
            log.exception("%s has no owner any more", self.id)
            self._set(ReplicaState.FAILED, StartFailed(f"{self.id}: {error}"))
        finally:
            trusted.cancel()
            self._has_looked()

    async def _keep_alive(self) -> None:
        """Start the engine, watch it, start it again; give up after quick ends in a row."""
        restarts = Restarts(self.back_off)
        while True:
            ready_at = None
            try:
                adopted = await self._adopt()
                self._has_looked()
                if not adopted:
                    if self.process.runs:  # it has requests of a worker that did not know
                        await self._until_idle(self.drain_seconds)
                    await self.process.stop()  # whatever an interrupted stop has left
                    await self.room()
                    await self._start()
                ready_at = self.clock()
                self._set(ReplicaState.READY)
                reason = await self._until_lost()
            except StartFailed as failure:
                reason = str(failure)
            except OSError as failure:
                reason = f"its process cannot be started: {failure}"
            self._has_looked()
            if self.state is ReplicaState.DRAINING:  # nobody wants it back
                await self.process.stop()
                self._set(ReplicaState.STOPPED)
                return
            pause = restarts.after(None if ready_at is None else self.clock() - ready_at)
            self._set(ReplicaState.STARTING, StartFailed(f"{self.id}: {reason}", self.process.tail()))
            await self.process.stop()
            error = StartFailed(f"{self.id}: {reason}", self.process.tail())
            log.warning("%s; its log: %s", error, self.process.log)
            if pause is None:
                self._set(ReplicaState.FAILED, error)
                return
            await asyncio.sleep(pause)

    async def _adopt(self) -> bool:
        """Take over the engine that an owner before this one has left, and wait until it is healthy.

        Return False where there is none: nothing then runs there. One that would now be started in another way is
        ended, and so is one that does not get well. Raises `StartFailed` and OSError.
        """
        left = await self.process.take_over()
        if left is None:
            return False
        if left.fingerprint != fingerprint(self._command(left.spot)):
            log.info("%s: the engine that runs (%s) was started in another way and is ended", self.id, left.name)
            return False
        self.address = address(self._at(left.spot), left.spot.port)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.deployment.start_timeout_seconds):
                if await end_or(self.process, self._until_healthy()) is None:
                    log.info("%s: adopted the engine that runs (%s)", self.id, left.name)
                    return True
        log.warning("%s: the engine that runs (%s) does not get well and is ended", self.id, left.name)
        return False

    async def _start(self) -> None:
        """Start the engine and wait until it is healthy. Raises `StartFailed` and OSError."""
        fixed = self.deployment.port_of(self.index)
        for _ in range(PORT_TRIES):
            spot = await self.process.place(self.deployment.host, fixed, self.port_seconds)
            ended = await self._end_on(spot)
            if ended is None:
                return
            if fixed is not None or not await self.process.is_taken(spot):
                break
            log.warning("%s: port %d was taken by another process before the engine had it", self.id, spot.port)
            await self.process.stop()
        raise StartFailed(f"the engine ended with {ended} while it started")

    async def _end_on(self, spot: Spot) -> int | None:
        """Start the engine there; return None once it is healthy, else its exit status. Raises `StartFailed`."""
        self.address = address(self._at(spot), spot.port)
        command = self._command(spot)
        await self.process.start(command, about=About(self.id, spot.port, fingerprint(command), spot.host))
        seconds = self.deployment.start_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await end_or(self.process, self._until_healthy())
        except TimeoutError:
            raise StartFailed(f"the engine was not healthy after {seconds:g} s") from None

    def command(self) -> Command:
        """Return how its engine was started, or would be; the port is 0 where none is fixed and none was taken yet."""
        host = self.deployment.host if self.deployment.is_here else self.address.host
        return self._command(Spot(host, self.address.port))

    def _command(self, spot: Spot) -> Command:
        """Return how its engine is started. An external one is not."""
        if self.family.command is None:
            raise StartFailed("nothing is started for it")
        return self.family.command(self._at(spot), spot.port, self.index)

    def _at(self, spot: Spot) -> Deployment:
        """Return the deployment as it is there: it listens on that address."""
        return self.deployment.model_copy(update={"host": spot.host})

    async def _until_lost(self) -> str:
        """Return why the replica is not ready any more: its process ended, it missed its probes, or it has stalled."""
        watch = Watch(self.deployment, self.served_name, lambda: self.traffic.silence(self.id))
        lost = await end_or(self.process, watch.until_lost(self.address, self.family.health_path, self.poll_seconds[1]))
        return f"the engine ended with {lost}" if isinstance(lost, int) else lost

    async def _until_healthy(self) -> None:
        await until_healthy(self.deployment, self.address, self.family.health_path, self.poll_seconds[0])

    async def _follow(self) -> None:
        """Follow the health of an engine that someone else runs; it may come and go."""
        misses = 0 if self.before else MISSES - 1  # of one that was never ready, the first miss is told
        async with Probe(self.deployment, self.address) as probe:
            while True:
                trouble = await self._trouble(probe)
                misses = 0 if trouble is None else misses + 1
                if misses >= MISSES and self.state is not ReplicaState.DRAINING:
                    self._set(ReplicaState.FAILED, StartFailed(f"{self.id}: {trouble}"))
                if misses in {0, MISSES}:
                    self._has_looked()
                await asyncio.sleep(self.poll_seconds[1])

    async def _trouble(self, probe: Probe) -> str | None:
        """Return why an external engine cannot be used; None: it can, and the name under which it serves is noted.

        Its health may be open to everybody (vLLM's is) while the rest wants a key: so one question is asked with it.
        """
        if not await probe.healthy(self.family.health_path, MODELS_PATH):
            return probe.complaint()
        if self.state in {ReplicaState.READY, ReplicaState.DRAINING}:
            return None
        name = served_name(self.deployment, await probe.models())
        if probe.refused:
            return probe.complaint()
        self.served_name = name
        self._set(ReplicaState.READY)
        return None
