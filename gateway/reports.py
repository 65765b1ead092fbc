"""The unix socket on which workers tell the control process what they have at which replica.

A report is one line of JSON, sent every `REPORT_SECONDS`, at once when a request comes for a model that must be loaded
or a replica begins to drain, and every `LOOK_SECONDS` until the worker has let go of that. Whoever is gone reports no
more: the connection's end is a worker's end. With the control process away workers go on, and find its successor at the
same place.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from backends.pool import Pool
from backends.traffic import Report, Reports
from gateway.state.redis import private_directory, socket_path

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.5
LOOK_SECONDS = 0.05
"""Between two reports while a replica drains here."""
LONGEST_LINE = 4 * 1024 * 1024
"""Bytes of a report: thousands of replicas."""

_decoder = msgspec.json.Decoder(Report)


def reports_path(data_dir: Path) -> Path:
    """Return where the control process listens: beside the embedded state server's socket, and no longer a path."""
    return socket_path(data_dir).with_name("desk.sock")


@contextlib.asynccontextmanager
async def heard(path: Path, reports: Reports) -> AsyncIterator[None]:
    """Take what workers report on the socket at *path* within the block."""
    private_directory(path.parent)
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while line := await reader.readline():
                reports.take(writer, _decoder.decode(line))
        except (OSError, ValueError):  # it has ended, or speaks another version's words: it connects again
            log.debug("a worker's reports ended", exc_info=True)
        finally:
            writers.discard(writer)
            reports.lose(writer)
            writer.close()

    server = await asyncio.start_unix_server(serve, path, limit=LONGEST_LINE)
    try:
        yield
    finally:
        server.close()
        for writer in tuple(writers):
            writer.close()


async def report(path: Path, pool: Pool) -> None:
    """Report what *pool* has to the socket at *path*, again and again, until cancelled."""
    while True:
        with contextlib.suppress(OSError):
            await _report(path, pool)
        await asyncio.sleep(REPORT_SECONDS)


async def _report(path: Path, pool: Pool) -> None:
    """Report over one connection until it ends. Raises OSError."""
    _, writer = await asyncio.open_unix_connection(path)
    try:
        while True:
            pool.news.clear()
            writer.write(msgspec.json.encode(pool.report()) + b"\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, REPORT_SECONDS) if pool.lingers else REPORT_SECONDS):
                    await pool.news.wait()
    finally:
        writer.close()
