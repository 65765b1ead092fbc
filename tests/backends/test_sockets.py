import asyncio
import contextlib
from typing import cast

from backends.sockets import Writer


class Sink(asyncio.Protocol):
    """Notes when it was told to stop writing, and when the connection is over."""

    def __init__(self) -> None:
        self.paused = 0
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self.paused += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()


async def pair() -> tuple[Sink, asyncio.StreamReader, asyncio.StreamWriter]:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: sink, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
    while not hasattr(sink, "transport"):
        await asyncio.sleep(0)
    server.close()
    return sink, reader, writer


async def test_more_than_the_socket_takes_arrives_whole_and_in_order() -> None:
    """Many megabytes to a reader that begins late: nothing is lost, and flow control speaks up."""
    sink, reader, writer = await pair()
    direct = Writer(sink.transport)
    blocks = [bytes([i % 251]) * 100_000 for i in range(200)]
    for block in blocks:
        direct.write(block)
    assert sink.paused
    assert await reader.readexactly(20_000_000) == b"".join(blocks)
    direct.write(b"more")
    assert await reader.readexactly(4) == b"more"
    writer.close()
    await sink.lost.wait()


async def test_what_is_closing_is_not_written_around() -> None:
    """After an abort nothing more leaves, whoever owns the descriptor by then."""
    sink, reader, writer = await pair()
    direct = Writer(sink.transport)
    sink.transport.abort()
    direct.write(b"late")
    await sink.lost.wait()
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_a_broken_connection_is_told_to_its_protocol() -> None:
    """Writing to a client that has gone ends in connection_lost, not in an exception."""
    sink, _, writer = await pair()
    direct = Writer(sink.transport)
    writer.transport.abort()
    for _ in range(50):
        direct.write(b"x" * 1000)
        await asyncio.sleep(0)
    await asyncio.wait_for(sink.lost.wait(), 5)
