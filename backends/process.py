"""One engine process under its shim."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from backends import record as records
from backends import shim
from backends.engines.family import Command
from backends.identity import Handle, Identity, members
from backends.ownership import Ownership
from backends.record import About, Record

T = TypeVar("T")

LOG_BYTES = 16 * 1024 * 1024
"""Size at which a log is set aside: by the shim while the engine runs, or before the next start. One older is kept."""
TAIL_BYTES = 64 * 1024
SHIM_SECONDS = 10.0
"""For the shim to end after it has killed its engine."""
OWNER_SECONDS = 5.0
"""For whoever looked after the engine before to let go of it."""
LOOK_SECONDS = 0.01
KILLED = 128 + signal.SIGKILL
"""Status of an engine whose shim was killed: nobody could see the engine's own."""


class Outlive(NamedTuple):
    """How an engine lives on when its owner has ended.

    *house* is a lock that whoever looks after engines holds: with it free, orphans live for *seconds*, 0: for ever;
    with it held, an engine that is not adopted ends after `shim.ADOPTION_SECONDS`.
    """

    house: Path
    seconds: float


class Process:
    """A started engine. Its output goes to a file, never a pipe: an engine must not stop because nobody reads.

    In *run_dir*: the log ``engine.log``, what runs ``process.json``, how it ended ``exit.json``. *grace_seconds* lie
    between SIGTERM and SIGKILL. Without *outlive* it ends with this process. Start it from the main thread; see
    `backends.shim`.
    """

    def __init__(
        self, run_dir: Path, grace_seconds: float, *, outlive: Outlive | None = None, log_bytes: int = LOG_BYTES
    ) -> None:
        self.run_dir = run_dir
        self.grace_seconds = grace_seconds
        self.outlive = outlive
        self.log_bytes = log_bytes
        self.log = run_dir / "engine.log"
        self.pid: int | None = None
        """Process id of the shim; None before the start."""
        self.record: Record | None = None
        """What runs, or ran last."""
        self._owner = Ownership(run_dir / "owner")
        self._handle: Handle | None = None
        self._child = False
        self._status = 0

    async def start(self, command: Command, cwd: Path | None = None, *, about: About = About()) -> None:  # noqa: B008
        """Start the engine, in *cwd* or where the owner is.

        Waits for one before it in the same directory to end. Raises OSError where the run directory cannot be written
        or another engine keeps it. A program that does not exist is the engine's end, with 127. Cancelled, it may
        have started: `stop` has to follow.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._until_alone()
        for name in ("exit.json", "process.json"):
            (self.run_dir / name).unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > self.log_bytes:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.pid = self._spawn(command, cwd, about, log.fileno())
        self._handle, self._child = Handle.of_child(self.pid), True
        while (found := records.read(self.run_dir)) is None and self._handle.runs():  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        self.record = found

    @property
    def runs(self) -> bool:
        """Whether it looks after an engine now."""
        return self._handle is not None

    def find(self) -> Record | None:
        """Return what an owner before this one has left running here; None: nothing that could be adopted.

        It is known by process id, start time and command line; what does not match is somebody else's and not touched.
        """
        found = records.read(self.run_dir)
        return found if found is not None and found.outlives and found.shim.runs() and found.engine.runs() else None

    async def adopt(self, found: Record) -> bool:
        """Look after *found*, from `find`, as if it had been started here; False: it has ended meanwhile.

        Raises OSError where somebody else looks after it.
        """
        await self._own()
        handle = Handle.open(found.shim)
        if handle is None:
            self._owner.release()
            return False
        self.pid, self.record = found.shim.pid, found
        self._handle, self._child = handle, False
        return True

    async def wait(self) -> int:
        """Return the exit status when the engine has ended; 128 + n for a signal n. Cancelling ends the wait only."""
        if self._handle is not None:
            await self._handle.wait()
        return self._over()

    async def end_or(self, watch: "Coroutine[Any, Any, T]") -> "int | T":
        """Return the exit status when it ends, or what *watch* returns before."""
        ended = asyncio.create_task(self.wait())
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

    async def stop(self) -> None:
        """Have the engine end: SIGTERM, SIGKILL after the grace time; return when nothing of it is left.

        What a killed shim has left, also under an owner before this one, is ended too.
        """
        if self._handle is not None:
            self._handle.send(signal.SIGTERM)
            try:
                async with asyncio.timeout(self.grace_seconds + SHIM_SECONDS):
                    await self._handle.wait()
            except TimeoutError:
                self._handle.send(signal.SIGKILL)
                await self._handle.wait()
            self._over()
        await self._sweep()

    def let_go(self) -> None:
        """Leave the engine running, for somebody else to adopt; one that does not outlive its owner ends with it."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        self._owner.release()

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """Return the last *lines* of the log, as far as they lie in its last 64 KiB."""
        if not self.log.exists():
            return ()
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    async def _own(self) -> None:
        try:
            await self._owner.take(OWNER_SECONDS)
        except TimeoutError:
            raise OSError(errno.EBUSY, "another process looks after the engine there", str(self.run_dir)) from None

    async def _until_alone(self) -> None:
        """Own the run directory, and wait for an engine that still ends there. Raises OSError."""
        await self._own()
        seconds = shim.ADOPTION_SECONDS + self.grace_seconds + SHIM_SECONDS
        try:
            async with asyncio.timeout(seconds):
                while not shim.is_free(str(self.run_dir / "lock")):  # noqa: ASYNC110 - the kernel sends no event
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise OSError(errno.EBUSY, "another engine runs there", str(self.run_dir)) from None

    def _spawn(self, command: Command, cwd: Path | None, about: About, log: int) -> int:
        """Start the shim in a session of its own; return its process id.

        By posix_spawn: asyncio's own would kill the child when the loop that started it is closed.
        """
        # isolated and without site packages: it needs none, and starts in half the time
        argv = [sys.executable, "-I", "-S", shim.__file__, "--run-dir", str(self.run_dir)]
        argv += ["--grace", str(self.grace_seconds), "--log-bytes", str(self.log_bytes)]
        argv += ["--owner", str(os.getpid()), "--about", json.dumps(msgspec.to_builtins(about))]
        if self.outlive is not None:
            argv += ["--orphan", str(self.outlive.seconds), "--house", str(self.outlive.house)]
        if cwd is not None:
            argv += ["--cwd", str(cwd)]
        outputs = [(os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)]
        return os.posix_spawn(
            argv[0],
            [*argv, "--", *command.argv],
            {**os.environ, **command.environment},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *outputs],
            setsid=True,
            setsigmask=(),
        )

    def _over(self) -> int:
        """Let go of a process that has ended; return its status."""
        if self._handle is None:
            return self._status
        if self._child:
            code = os.waitstatus_to_exitcode(os.waitpid(self._handle.identity.pid, 0)[1])
            self._status = code if code >= 0 else 128 - code
        else:
            how = records.end(self.run_dir)
            self._status = KILLED if how is None else how.status
        self.let_go()
        return self._status

    async def _sweep(self) -> None:
        """End what a shim that was killed has left: a group whose leader may be dead, so that no one else would.

        The number of a process is not given to another one while a session or group has it. So whatever has the
        shim's number now, if it is not the shim, says that nothing is left of its session.
        """
        left = records.read(self.run_dir)
        if left is None or shim.start_time(left.shim.pid) is not None or records.end(self.run_dir) is not None:
            return
        deadline = time.monotonic() + self.grace_seconds
        number = signal.SIGTERM
        while found := members(left.shim.pid, left.engine):
            _signal_all(found, number)
            number = signal.SIGKILL
            while time.monotonic() < deadline and any(one.runs() for one in found):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)


def _signal_all(found: Iterable[Identity], number: signal.Signals) -> None:
    for one in found:
        handle = Handle.open(one)
        if handle is not None:
            with contextlib.closing(handle):
                handle.send(number)
