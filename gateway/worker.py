"""One data-plane process: `python -m gateway.worker PARENT INDEX`, started by `gateway serve`."""

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator

import uvloop
from redis.exceptions import RedisError

from gateway.app import App
from gateway.audit.errors import AuditUnavailable
from gateway.logs import configure
from gateway.parent import end_within, leave, tie_as_told
from gateway.proxies import Proxies
from gateway.relay.front import Front, Shared
from gateway.serve import worker_stop_seconds
from gateway.services import Services, open_services
from gateway.settings import Limits, Settings, load

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
READY_SECONDS = 5.0
"""For a worker's first keys and library; then it listens all the same, and says that it is not ready."""
BACKLOG = 4096
LAST_WORDS_SECONDS = 5.0
"""For turns that were told to stop, to put themselves on record and say so."""
RESERVED_DESCRIPTORS = 128
"""For the state, the log, the metrics, the modules, and clients that are turned away."""


def raise_descriptors() -> int:
    """Let this process open as many files as it may; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    except (OSError, ValueError) as error:  # not even the owner of a process may exceed fs.nr_open
        log.warning("only %d files may be open: %s", soft, error)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def fitted(limits: Limits, descriptors: int) -> Limits:
    """Return *limits* with no more connections than there are descriptors for, two each: its own and an engine's.

    Else a few hundred idle clients would take the last one, and nobody could be told anything.
    """
    most = max(1, (descriptors - RESERVED_DESCRIPTORS) // 2)
    if limits.connections <= most:
        return limits
    log.warning("limits.connections: %d, not %d: only %d files may be open", most, limits.connections, descriptors)
    return limits.model_copy(update={"connections": most})


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
    shared = Shared(App(services), settings.limits, settings.timeouts, Proxies(settings.trusted_proxies))
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


async def run(settings: Settings, index: int) -> None:
    """Serve until SIGTERM or SIGINT; then `worker_stop_seconds` are all that it has, whatever its turns wait for.

    *index* is its number among the workers.
    """
    stop = asyncio.Event()

    def end() -> None:
        if not stop.is_set():  # another signal lengthens nothing
            end_within(worker_stop_seconds(settings))
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    async with open_services(settings, index) as services:
        await services.judging(READY_SECONDS)  # until then the other workers take what comes
        async with serving(services, listen(settings.host, settings.port)):
            await stop.wait()


def main() -> None:
    """Start one worker."""
    tie_as_told(sys.argv[1:])
    configure()
    try:
        settings = load()
        limits = fitted(settings.limits, raise_descriptors())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings.model_copy(update={"limits": limits}), int(sys.argv[2]) if sys.argv[2:] else 0))
            leave(0)  # a library may be being built
    except AuditUnavailable as error:  # only at the start; later turns are refused
        log.error("data_dir: %s", error)  # noqa: TRY400 - whose fault it is says the line
        sys.exit(1)
    except RedisError as error:  # only at the start; later its loss is lived with
        log.error("redis_url: the state cannot be read: %s", error)  # noqa: TRY400 - whose fault it is says the line
        sys.exit(1)


if __name__ == "__main__":
    main()
