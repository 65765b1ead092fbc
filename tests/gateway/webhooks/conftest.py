"""An outbox, and a receiver that can fail, hang and redirect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httptools
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from gateway.state import sql
from gateway.webhooks.events import Message
from gateway.webhooks.outbox import put
from gateway.webhooks.rules import Event, Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """An HTTP server that answers with the statuses of `script`, then with 204; None: it hangs."""

    def __init__(self) -> None:
        self.script: list[int | None] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.arrived = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=secret-of-the-url"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers: dict[str, str] = {}
        body, done = bytearray(), []

        class Callbacks:
            def on_header(self, name: bytes, value: bytes) -> None:
                headers[name.decode().lower()] = value.decode()

            def on_body(self, data: bytes) -> None:
                body.extend(data)

            def on_message_complete(self) -> None:
                done.append(True)

        parser = httptools.HttpRequestParser(Callbacks())
        with contextlib.suppress(ConnectionError):
            while not done and (data := await reader.read(65536)):
                parser.feed_data(data)
            if done:
                self.got.append((headers, bytes(body)))
                self.arrived.set()
                status = self.script.pop(0) if self.script else 204
                if status is None:
                    await reader.read()  # until the other side leaves
                else:
                    writer.write(
                        b"HTTP/1.1 %d x\r\nlocation: /other\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
                    )
                    await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
def hook(receiver: Receiver) -> Webhook:
    return Webhook(url=receiver.url, secret=SECRET)  # type: ignore[arg-type]


@pytest.fixture
async def engine(database: Settings) -> AsyncIterator[AsyncEngine]:
    """An empty database, of each kind in turn."""
    async with sql.opened(database) as opened:
        yield opened


def message(number: int, person: str = "p1", **changes: Any) -> Message:
    """Return what happened to a person at second *number*."""
    fields: dict[str, Any] = {"event": Event.SUSPENDED, "at": number, "until": number + 86_400, **changes}
    return Message(id=f"evt_{number}", person=person, **fields)


async def queue(engine: AsyncEngine, hook: Webhook, *messages: Message, now: int = 0) -> None:
    """Put messages into the outbox."""
    async with engine.begin() as connection:
        await put(connection, hook, messages, now)
