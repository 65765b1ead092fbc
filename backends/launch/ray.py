"""Engines on the nodes of a Ray cluster: an actor for each, which starts it under its shim."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from backends import shim
from backends.engines.family import Command
from backends.errors import StartFailed
from backends.launch import Left, Spot
from backends.launch.ray_client import Absent, Cluster, Gone, NoPlace, RayTrouble
from backends.process import KILLED, LOG_BYTES, Outlive, last_lines
from backends.record import About

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks at an engine."""
RETRY_SECONDS = 5.0
"""Between two attempts to reach the cluster at the start."""
END_SECONDS = 10.0
"""Beside its grace time, for an engine to have ended."""
STOP_SECONDS = 15.0
"""Beside its grace time, for all of a stop: the control process's own end waits for 20."""
END_LOOK_SECONDS = 0.1
SILENT_CALLS = 2
"""Calls that an actor may leave unanswered while its engine is to end; then Ray is told to kill it."""
MARK = "ray.json"


class Mark(msgspec.Struct, frozen=True):
    """``ray.json``: an actor was placed, and not yet ended."""

    actor: str
    grace_seconds: float


class OnRay:
    """A `Launcher` for a Ray cluster.

    What the engine writes is copied to ``engine.log`` in *run_dir* here, so that it outlives the node. *name* is the
    actor's; *needs* comes from `plan.resources`.
    """

    def __init__(  # noqa: PLR0913 - what a `Process` takes, and the cluster
        self,
        run_dir: Path,
        name: str,
        cluster: Cluster,
        grace_seconds: float,
        *,
        needs: dict[str, Any] | None = None,
        outlive: Outlive | None = None,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self.run_dir = run_dir
        self.log = run_dir / "engine.log"
        self.pid: int | None = None
        self.name = name
        self.cluster = cluster
        self.grace_seconds = grace_seconds
        self.needs = needs or {}
        self.log_bytes = log_bytes
        # without the kernel's help, an owner that has gone is known by its silence alone
        self.orphan_seconds = outlive.seconds if outlive is not None else shim.ADOPTION_SECONDS
        self._mark = run_dir / MARK
        self._runs = False
        self._status = 0
        self._seen: int | None = None

    @property
    def runs(self) -> bool:
        """See `Launcher`."""
        return self._runs

    def is_there(self) -> bool:
        """See `Launcher`."""
        return self._mark.exists()

    async def take_over(self) -> Left | None:
        """See `Launcher`. A cluster that does not answer is waited for: it may start later than the gateway."""
        found = await self._found()
        if found is None:
            return None
        self._note()
        started = found["started"]
        if started is None or not found["runs"] or started["needs"] != self.needs:
            return None
        self._begin(seen=None)
        about = msgspec.convert(started["about"], About)
        return Left(Spot(about.host, about.port), about.fingerprint, f"actor {self.name} at {about.host}")

    async def place(self, host: str, port: int | None, patience: float) -> Spot:
        """See `Launcher`: an actor gets its node, and the node's address is where the engine listens."""
        del host
        self._note()
        try:
            where = await self.cluster.create(self.name, self.orphan_seconds, self.needs)
        except NoPlace as error:
            raise StartFailed(str(error)) from None
        log.info("%s: placed at %s, GPUs: %s", self.name, where["host"], where["gpus"] or "none")
        give_up = asyncio.get_running_loop().time() + patience
        while not (found := await self.cluster.call(self.name, "place", port))["free"]:
            if asyncio.get_running_loop().time() >= give_up:
                raise StartFailed(f"port {port} of {found['host']} is taken by another process")
            await asyncio.sleep(LOOK_SECONDS)
        return Spot(found["host"], found["port"])

    async def start(self, command: Command, *, about: About) -> None:
        """See `Launcher`."""
        if self.log.exists() and self.log.stat().st_size > self.log_bytes:
            self.log.replace(self.log.with_suffix(".log.1"))
        said = {"about": msgspec.to_builtins(about), "needs": self.needs}
        given = (list(command.argv), dict(command.environment), self.grace_seconds, self.log_bytes, said)
        await self.cluster.call(self.name, "start", *given)
        self._begin(seen=0)

    async def is_taken(self, spot: Spot) -> bool:
        """See `Launcher`."""
        with contextlib.suppress(RayTrouble):
            return not (await self.cluster.call(self.name, "place", spot.port))["free"]
        return False

    async def wait(self) -> int:
        """See `Launcher`. An actor that is not reached may be again: only its end, or its node's, is an end."""
        while self._runs:
            with contextlib.suppress(RayTrouble):
                await self._look()
            if self._runs:
                await asyncio.sleep(LOOK_SECONDS)
        return self._status

    async def stop(self) -> None:
        """See `Launcher`: SIGTERM, SIGKILL after the grace time by the shim there; then the actor ends."""
        if not self._mark.exists() and not self._runs:
            return
        try:
            async with asyncio.timeout(self.grace_seconds + STOP_SECONDS):
                await self._end()
                await self.cluster.kill(self.name)
            self._mark.unlink(missing_ok=True)
        except OSError as error:  # the mark stays, for the next one to try; and an actor ends by itself in silence
            why = "the Ray cluster does not answer" if isinstance(error, TimeoutError) else error
            log.warning("%s: cannot be ended: %s", self.name, why)
        self._runs = False

    def let_go(self) -> None:
        """See `Launcher`."""
        self._runs = False

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """See `Launcher`."""
        return last_lines(self.log, lines)

    async def _found(self) -> dict[str, Any] | None:
        """Return what there is of an actor, now its own; None: there is none. Raises `StartFailed` and OSError."""
        give_up = asyncio.get_running_loop().time() + self.cluster.place_seconds
        while True:
            try:
                return await self._take()
            except (Absent, Gone):
                return None
            except RayTrouble as error:
                if asyncio.get_running_loop().time() >= give_up:
                    raise StartFailed(f"the Ray cluster does not answer: {error}") from None
                log.warning("%s: the Ray cluster does not answer: %s", self.name, error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _end(self) -> None:
        """Have the engine end, as far as its actor can be reached. Raises OSError where it is another gateway's."""
        try:
            if (await self._take())["runs"]:
                await self._until_ended()
            await self.cluster.call(self.name, "clear")
        except (Absent, Gone):
            return
        except RayTrouble as error:
            log.warning("%s: its engine cannot be asked to end: %s", self.name, error)

    def _note(self) -> None:
        """Note on the disk that there is an actor."""
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._mark.write_bytes(msgspec.json.encode(Mark(self.name, self.grace_seconds)))

    async def _take(self) -> dict[str, Any]:
        """Be the owner of the actor. Raises OSError where another one is, who is alive."""
        owner = self.cluster.owner()
        found: dict[str, Any] = await self.cluster.call(self.name, "take", owner, self.orphan_seconds)
        if found["holder"] != owner:
            raise OSError(f"another gateway has an actor {self.name}; each needs a `ray.namespace` of its own")
        return found

    def _begin(self, *, seen: int | None) -> None:
        self._runs, self._seen = True, seen

    async def _look(self) -> None:
        """Look once: copy what the log has got, and note an end."""
        try:
            found = await self.cluster.call(self.name, "look", self._seen)
        except (Absent, Gone) as error:
            self._write(f"[ray] {error}\n")
            self._runs, self._status = False, KILLED
            return
        self._seen = found["seen"]
        if found["log"]:
            self._write(found["log"])
        elif found["status"] is not None:
            self._runs, self._status = False, found["status"]

    async def _until_ended(self) -> None:
        """Have the engine end; return when it has, or it cannot be reached."""
        self._runs = True
        await self.cluster.call(self.name, "stop")
        silent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.grace_seconds + END_SECONDS):
                while self._runs and silent < SILENT_CALLS:
                    try:
                        await self._look()
                    except RayTrouble:
                        silent += 1
                    if self._runs:
                        await asyncio.sleep(END_LOOK_SECONDS)

    def _write(self, text: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(text)


def leftovers(folder: Path, wanted: Collection[str]) -> list[Path]:
    """Return the run directories in *folder* of actors that may still be there, and whose names are not *wanted*."""
    return [file.parent for file in sorted(folder.glob(f"*/{MARK}")) if file.parent.name not in wanted]


async def end_leftover(run_dir: Path, cluster: Cluster, drained: Callable[[str], Awaitable[None]]) -> None:
    """End the actor of *run_dir*, whose deployment has gone; *drained* returns when it has no request any more."""
    try:
        mark = msgspec.json.decode((run_dir / MARK).read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError):
        return
    log.warning("%s: nobody looks after its engine on the Ray cluster, which is ended", mark.actor)
    await drained(mark.actor)
    await OnRay(run_dir, mark.actor, cluster, mark.grace_seconds).stop()
