"""Engines on this machine: a process under its shim."""

import asyncio
import logging

from backends.errors import StartFailed
from backends.launch import Left, Spot
from backends.ports import free_port, is_free
from backends.process import Process

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1


class Local(Process):
    """A `Launcher` for this machine."""

    def is_there(self) -> bool:
        """See `Launcher`."""
        return self.find() is not None

    async def take_over(self) -> Left | None:
        """See `Launcher`."""
        found = self.find()
        if found is None or not await self.adopt(found):
            return None
        about = found.about
        return Left(Spot(about.host, about.port), about.fingerprint, f"pid {found.engine.pid}")

    async def place(self, host: str, port: int | None, patience: float) -> Spot:
        """See `Launcher`; an engine before this one may still have a fixed port."""
        if port is None:
            return Spot(host, free_port(host))
        if is_free(host, port):
            return Spot(host, port)
        taken = f"port {port} of {host} is taken by another process"
        log.warning("%s: %s; waiting %g s for it", self.run_dir.name, taken, patience)
        try:
            async with asyncio.timeout(patience):
                while not is_free(host, port):  # noqa: ASYNC110 - the kernel sends no event
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:  # whoever listens there would be taken for the engine
            raise StartFailed(taken) from None
        return Spot(host, port)

    async def is_taken(self, spot: Spot) -> bool:
        """See `Launcher`."""
        return not is_free(*spot)
