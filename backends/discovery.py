"""The replicas of an external deployment whose name stands for several addresses, as a headless Service's does."""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from backends.before import COMING
from backends.deployment import Deployment
from backends.endpoint import Endpoint, ReplicaState
from backends.errors import StartFailed
from backends.probe import address
from backends.replica import Replica

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Between two looks; CoreDNS, Kubernetes' name server, lets its answers be kept for 5 s."""
MISSES = 2
"""Looks in a row without an address after which it is gone: an answer may be cut short."""
DRAIN_SECONDS = 60.0
"""For which an address that is gone is shown as draining, and its number is not given to another one. What runs there
is not cut, however long it takes: whoever has a lease keeps it."""
MOST = 64
"""Replicas of one deployment, as where their number is set."""
NOBODY_THERE = {socket.EAI_NONAME, socket.EAI_NODATA}

Resolve = Callable[[str, int], Awaitable[Iterable[str]]]


async def resolved(host: str, port: int) -> set[str]:
    """Return the addresses of *host*; none where the name is not known now. Raises OSError where nobody can say."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in NOBODY_THERE:
            return set()
        raise
    return {str(where[0]) for *_, where in found}


class Discovered:
    """One replica for each address that is found; *on_change* is called whenever `endpoints` answers something new.

    *resolve*, *look_seconds* and *drain_seconds* are arguments for the tests' sake.
    """

    def __init__(  # noqa: PLR0913 - the last ones are for tests
        self,
        deployment: Deployment,
        run_dir: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        resolve: Resolve = resolved,
        look_seconds: float = LOOK_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.deployment = deployment
        self.run_dir = run_dir
        self.on_change = on_change
        self.resolve = resolve
        self.look_seconds = look_seconds
        self.drain_seconds = drain_seconds
        self.replicas: dict[str, Replica] = {}
        """By address."""
        self._numbers: dict[str, int] = {}
        self._missed: dict[str, int] = {}
        self._gone: dict[str, float] = {}
        """When an address was found to be gone, on the monotonic clock."""
        self.before: tuple[Endpoint, ...] = ()
        """What was known of them before anybody looked."""
        self._nobody = Replica(deployment, 0, run_dir)
        self._looked = False
        self._complaint = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def endpoints(self) -> list[Endpoint]:
        """Return all that there are; where there is none, one that is not ready, so that the model is known."""
        if not self.replicas:
            state = ReplicaState.FAILED if self._looked else ReplicaState.STARTING
            return [msgspec.structs.replace(self._nobody.endpoint(), state=state)]
        found = []
        for where, replica in self.replicas.items():
            endpoint = replica.endpoint()
            gone = where in self._gone
            found.append(msgspec.structs.replace(endpoint, state=ReplicaState.DRAINING) if gone else endpoint)
        return found

    async def run(self) -> None:
        """Look for addresses until cancelled."""
        where = address(self.deployment)
        while True:
            try:
                addresses = set(await self.resolve(where.host, where.port))
            except OSError as error:  # nobody can say: what is known stays
                self._complain(f"{where.host} cannot be resolved: {error}")
            else:
                self._complain("")
                await self.take(addresses)
            await asyncio.sleep(self.look_seconds)

    async def take(self, addresses: set[str]) -> None:
        """Follow *addresses*, as they were found: add, drain, forget."""
        before, self._looked = self.endpoints(), True
        for where in sorted(addresses, key=ipaddress.ip_address):
            self._missed.pop(where, None)
            if where not in self.replicas or self._gone.pop(where, None) is not None:
                self._add(where)
        for where in self.replicas.keys() - addresses - self._gone.keys():
            self._missed[where] = self._missed.get(where, 0) + 1
            if self._missed[where] >= MISSES:
                await self._drain(where)
        now = time.monotonic()
        for where in [where for where, since in self._gone.items() if now - since >= self.drain_seconds]:
            del self._gone[where], self.replicas[where], self._numbers[where], self._missed[where]
        if before != self.endpoints():
            self.on_change()

    async def stop(self) -> None:
        """Look after none of them any more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *(one.stop() for one in self.replicas.values()), return_exceptions=True)

    def _add(self, where: str) -> None:
        """Follow the engine at an address; each has the lowest number that is free, so that numbers stay few."""
        if where not in self.replicas:
            if len(self.replicas) >= MOST:
                self._complain(f"more than {MOST} addresses; {where} is left out")
                return
            taken = set(self._numbers.values())
            number = self._numbers[where] = next(i for i in range(MOST) if i not in taken)
            told = self.on_change
            found = Replica(self.deployment, number, self.run_dir, on_change=told, host=where)
            found.before = tuple(one for one in self.before if one.host == where)
            self.replicas[where] = found
            log.info("%s: %s is %s", self.deployment.model, where, found.id)
        task = asyncio.create_task(_started(self.replicas[where]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, where: str) -> None:
        """Send nothing more to an address that is gone."""
        log.info("%s: %s is gone, and drains", self.deployment.model, where)
        self._gone[where] = time.monotonic()
        await self.replicas[where].stop()

    def _complain(self, text: str) -> None:
        if text and text != self._complaint:
            log.warning("%s: %s", self.deployment.model, text)
        self._complaint = text


async def _started(replica: Replica) -> None:
    """Have a replica followed; one that does not answer yet is followed all the same."""
    try:
        await replica.ensure_ready()
    except StartFailed as error:
        log.warning("%s", error)


class ByName(Replica):
    """The addresses of a name, looked after like one replica: it is ready while one of them is.

    *look* makes what looks for them; it is an argument for the tests' sake.
    """

    def __init__(
        self,
        deployment: Deployment,
        run_dir: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
        look: Callable[..., Discovered] = Discovered,
    ) -> None:
        super().__init__(deployment, 0, run_dir, on_change=on_change)
        self.look = look
        self.run_dir = run_dir
        self._found: Discovered | None = None

    def endpoints(self) -> list[Endpoint]:
        """Return one for each address."""
        if self._found is None or self.before:
            return super().endpoints()
        return self._found.endpoints()

    async def _run(self) -> None:
        found = self._found = self.look(self.deployment, self.run_dir, on_change=self._changed)
        found.before = self.before
        try:
            await found.run()
        finally:
            self._found = None
            self._has_looked()
            await found.stop()

    def _changed(self) -> None:
        """Take the state that the addresses have together."""
        if self._found is None:
            return
        states = {endpoint.state for endpoint in self._found.endpoints()}
        if ReplicaState.READY in states:
            self._set(ReplicaState.READY)
        elif self.state is not ReplicaState.STARTING or not states & COMING:
            self._set(ReplicaState.FAILED, StartFailed(f"{self.deployment.model}: no address of its name answers"))
        if self.state is not ReplicaState.STARTING:
            self._has_looked()
        self.on_change()
