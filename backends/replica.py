"""One replica: its process, its state, and what brings it back."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from backends.deployment import Deployment, Engine
from backends.endpoint import Endpoint, ReplicaState
from backends.engines import FAMILIES
from backends.errors import StartFailed
from backends.process import Process

log = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
"""Time-out of one health probe."""
MISSES = 3
"""Probes in a row that a ready replica may miss."""
QUICK_SECONDS = 60.0
"""A process that ended sooner counts as a crash in a row."""
BACK_OFF = (1.0, 2.0, 5.0, 10.0)
"""Seconds before the n-th restart in a row; after the last one the replica has failed."""


class Replica:
    """One replica of a deployment. `run` owns it; everybody else asks.

    *on_change* is called whenever `endpoint` answers something new. *back_off* and *poll_seconds* (starting, ready)
    are arguments for the tests' sake.
    """

    def __init__(  # noqa: PLR0913 - the last ones are for tests
        self,
        deployment: Deployment,
        index: int,
        run_dir: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        back_off: Sequence[float] = BACK_OFF,
        poll_seconds: tuple[float, float] = (0.1, 5.0),
    ) -> None:
        self.deployment = deployment
        self.id = f"{deployment.model}#{index}"
        self.family = FAMILIES[deployment.engine]
        self.on_change = on_change
        self.back_off = back_off
        self.poll_seconds = poll_seconds
        self.created = int(time.time())
        self.state = ReplicaState.STOPPED
        self.last_error: StartFailed | None = None
        self.served_name = self.family.served_name(deployment)
        self.host, self.port, self.tls, self.base_path = _address(deployment)
        safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in self.id)
        self.process = Process(run_dir / safe, deployment.stop_grace_seconds)
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    async def ensure_ready(self) -> None:
        """Return once the engine answers its health probe.

        ready: at once; stopped or failed: start and wait. Raises `StartFailed` with the engine's last log lines. Safe
        to call from many tasks; cancelling a call leaves the replica as it is.
        """
        if self._task is None or self._task.done():
            self._settled.clear()
            self._set(ReplicaState.STARTING)
            self._task = asyncio.create_task(self._run())
        await self._settled.wait()
        if self.state is not ReplicaState.READY:
            raise self.last_error or StartFailed(f"{self.id} was stopped while it started")

    async def stop(self) -> None:
        """End the process, if one runs, and stay stopped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.process.stop()
        self._set(ReplicaState.STOPPED)
        self._settled.set()

    def endpoint(self) -> Endpoint:
        """Return the replica as those see it who send requests to it."""
        names = tuple(name for name in self.deployment.all_names if name != self.deployment.model)
        return Endpoint(
            replica=self.id,
            model=self.deployment.model,
            aliases=names,
            engine=self.deployment.engine.value,
            served_name=self.served_name,
            host=self.host,
            port=self.port,
            tls=self.tls,
            base_path=self.base_path,
            state=self.state,
            slots=self.family.slots(self.deployment),
            max_in_flight=self.deployment.max_in_flight,
            created=self.created,
        )

    def _set(self, state: ReplicaState, error: StartFailed | None = None) -> None:
        self.last_error = error or (None if state is ReplicaState.READY else self.last_error)
        if state is not self.state:
            self.state = state
            log.info("%s is %s", self.id, state.value)
            self.on_change()

    async def _run(self) -> None:
        """Keep the replica alive: start, watch, start again; give up after quick crashes in a row."""
        if self.family.command is None:
            await self._follow_external()
            return
        crashes = 0
        while True:
            began = time.monotonic()
            try:
                await self._start_process()
                self._set(ReplicaState.READY)
                self._settled.set()
                reason = await self._until_lost()
            except StartFailed as failure:
                reason = str(failure)
            await self.process.stop()
            error = StartFailed(f"{self.id}: {reason}", self.process.tail())
            crashes = crashes + 1 if time.monotonic() - began < QUICK_SECONDS else 1
            log.warning("%s", error)
            if crashes > len(self.back_off) or not self._settled.is_set():
                self._set(ReplicaState.FAILED, error)
                self._settled.set()
                return
            self._set(ReplicaState.STARTING, error)
            await asyncio.sleep(self.back_off[crashes - 1])

    async def _start_process(self) -> None:
        """Start the engine and wait until it is healthy."""
        if self.deployment.port is None:
            self.port = free_port(self.host)
        if self.family.command is None:
            return
        await self.process.start(self.family.command(self.deployment, self.port))
        ended = asyncio.create_task(self.process.wait())
        healthy = asyncio.create_task(self._until_healthy())
        try:
            done, _ = await asyncio.wait(
                {ended, healthy}, timeout=self.deployment.start_timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ended.cancel()
            healthy.cancel()
        if ended in done:
            raise StartFailed(f"the engine ended with {ended.result()} while it started", self.process.tail())
        if healthy not in done:
            seconds = self.deployment.start_timeout_seconds
            raise StartFailed(f"the engine was not healthy after {seconds:g} s", self.process.tail())

    async def _until_healthy(self) -> None:
        async with self._client() as client:
            while not await self._healthy(client):  # noqa: ASYNC110 - the engine sends no event
                await asyncio.sleep(self.poll_seconds[0])

    async def _until_lost(self) -> str:
        """Return why the replica is not ready any more: its process ended, or it missed its probes."""
        ended = asyncio.create_task(self.process.wait())
        missed = asyncio.create_task(self._until_missed())
        try:
            done, _ = await asyncio.wait({ended, missed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            missed.cancel()
        if ended in done:
            return f"the engine ended with {ended.result()}"
        return f"the engine missed {MISSES} health probes in a row"

    async def _until_missed(self) -> None:
        misses = 0
        async with self._client() as client:
            while misses < MISSES:
                await asyncio.sleep(self.poll_seconds[1])
                misses = 0 if await self._healthy(client) else misses + 1

    async def _follow_external(self) -> None:
        """Follow the health of an engine that someone else runs; it may come and go."""
        misses = 0
        async with self._client() as client:
            while True:
                if await self._healthy(client) or await self._healthy(client, "/v1/models"):
                    misses = 0
                    self._set(ReplicaState.READY)
                else:
                    misses += 1
                    if misses >= MISSES or self.state is ReplicaState.STARTING:
                        self._set(ReplicaState.FAILED, StartFailed(f"{self.id}: nobody answers at its url"))
                self._settled.set()
                await asyncio.sleep(self.poll_seconds[1])

    async def _healthy(self, client: httpx.AsyncClient, path: str | None = None) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(path or self.family.health_path)).status_code == 200
        return False

    def _client(self) -> httpx.AsyncClient:
        key = self.deployment.api_key
        headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
        host = f"[{self.host}]" if ":" in self.host else self.host
        base = f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.base_path}"
        return httpx.AsyncClient(base_url=base, headers=headers, timeout=PROBE_SECONDS, trust_env=False)


def _address(deployment: Deployment) -> tuple[str, int, bool, str]:
    """Return host, port, whether TLS is spoken, and what stands before ``/v1``."""
    if deployment.engine is not Engine.EXTERNAL or deployment.url is None:
        host = "127.0.0.1" if deployment.host == "0.0.0.0" else deployment.host  # noqa: S104 - compared, not bound
        return host, deployment.port or 0, False, ""
    url = urlsplit(deployment.url)
    tls = url.scheme == "https"
    base = url.path.rstrip("/").removesuffix("/v1")
    return url.hostname or "", url.port or (443 if tls else 80), tls, base


def free_port(host: str) -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
