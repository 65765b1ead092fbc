"""One engine process under its shim."""

import asyncio
import os
import sys
from pathlib import Path

from backends import shim
from backends.engines.family import Command

LOG_BYTES = 16 * 1024 * 1024
"""Above it a log is set aside when the engine starts again; one older one is kept."""
TAIL_BYTES = 64 * 1024
SHIM_SECONDS = 10.0
"""For the shim to end after it has killed its engine."""


class Process:
    """A started engine. Its output goes to a file, never a pipe: an engine must not stop because nobody reads.

    The log is ``engine.log`` in *run_dir*, how it ended ``exit.json`` there. *grace_seconds* lie between SIGTERM and
    SIGKILL. Start it from the main thread; see `backends.shim`.
    """

    def __init__(self, run_dir: Path, grace_seconds: float) -> None:
        self.run_dir = run_dir
        self.grace_seconds = grace_seconds
        self.log = run_dir / "engine.log"
        self._shim: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the shim; None before the start."""
        return None if self._shim is None else self._shim.pid

    async def start(self, command: Command, cwd: Path | None = None) -> None:
        """Start the engine, in *cwd* or where the owner is.

        Raises OSError where the run directory cannot be written. A program that does not exist is the engine's end,
        with 127. Cancelled, it still starts: `stop` has to follow.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.run_dir / "exit.json").unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        # isolated and without site packages: it needs none, and starts in half the time
        interpreter = (sys.executable, "-I", "-S", shim.__file__)
        options = ("--run-dir", str(self.run_dir), "--grace", str(self.grace_seconds), "--owner", str(os.getpid()))
        with self.log.open("ab") as log:
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *interpreter,
                    *options,
                    "--",
                    *command.argv,
                    env={**os.environ, **command.environment},
                    cwd=cwd,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
            try:
                self._shim = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._shim = await starting  # it takes milliseconds, and nobody else could end it
                raise

    async def wait(self) -> int:
        """Return the exit status when the engine has ended; 128 + n for a signal n. Cancelling ends the wait only."""
        return 0 if self._shim is None else await self._shim.wait()

    async def stop(self) -> None:
        """Have the engine end: SIGTERM, SIGKILL after the grace time; return when nothing of it is left."""
        if self._shim is None or self._shim.returncode is not None:
            return
        self._shim.terminate()
        try:
            async with asyncio.timeout(self.grace_seconds + SHIM_SECONDS):
                await self._shim.wait()
        except TimeoutError:
            self._shim.kill()
            await self._shim.wait()

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """Return the last *lines* of the log, as far as they lie in its last 64 KiB."""
        if not self.log.exists():
            return ()
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return tuple(file.read().decode("utf-8", "replace").splitlines()[-lines:])
