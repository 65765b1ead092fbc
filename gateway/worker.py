"""One data-plane process: `python -m gateway.worker`, started by `gateway serve`."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator

import uvloop

from gateway.app import App
from gateway.logs import configure
from gateway.relay.front import Front, Shared
from gateway.services import Services, open_services
from gateway.settings import Settings, load

SWEEP_SECONDS = 1.0
BACKLOG = 4096
LAST_WORDS_SECONDS = 5.0
"""For turns that were told to stop, to put themselves on record and say so."""


def listen(host: str, port: int) -> socket.socket:
    """Return the listening socket of one worker; the kernel spreads connections over all that share the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # inherited by every connection: no event waits for the one before it to be acknowledged
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((host, port))
    return sock


@contextlib.asynccontextmanager
async def serving(services: Services, sock: socket.socket) -> AsyncIterator[Shared]:
    """Serve on *sock* within the block; at its end running turns get `drain_seconds`, then a word, then nothing."""
    settings = services.settings
    shared = Shared(App(services), settings.limits, settings.timeouts)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Front(shared), sock=sock, backlog=BACKLOG)
    sweeper = asyncio.create_task(_sweep(shared))
    try:
        yield shared
    finally:
        server.close()
        for connection in tuple(shared.connections):
            connection.stop()
        await _drain(shared, settings.timeouts.drain_seconds)
        for task in tuple(shared.tasks):
            task.cancel()
        await _drain(shared, LAST_WORDS_SECONDS)
        sweeper.cancel()
        for connection in tuple(shared.connections):
            connection.transport.abort()


async def _drain(shared: Shared, seconds: float) -> None:
    if shared.tasks:
        await asyncio.wait(tuple(shared.tasks), timeout=seconds)


async def _sweep(shared: Shared) -> None:
    """Cut off slow clients, once a second."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for connection in tuple(shared.connections):
            connection.sweep(loop.time())


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_services(settings) as services, serving(services, listen(settings.host, settings.port)):
        await stop.wait()


def main() -> None:
    """Start one worker."""
    configure()
    uvloop.run(run(load()))


if __name__ == "__main__":
    main()
