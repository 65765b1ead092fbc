"""What tests of every package use."""

import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.serve import _answers
from gateway.state.redis import embedded_binary, embedded_command


@pytest.fixture
def untraced() -> Iterator[None]:
    """Keeps coverage's tracer out of what the test measures: it makes code of many short steps twice as slow."""
    tracer, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]  # None is what ends it
    yield
    threading.settrace(in_threads)  # type: ignore[arg-type]
    sys.settrace(tracer)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real Valkey on a unix socket."""
    directory = tmp_path_factory.mktemp("v")
    socket = directory / "valkey.sock"
    with subprocess.Popen(embedded_command(embedded_binary(), directory, socket)) as server:
        deadline = time.monotonic() + 60
        while not _answers(socket):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield socket
        server.terminate()


@pytest.fixture
async def redis(valkey: Path) -> AsyncIterator["Redis"]:
    """An empty database on it."""
    client: Redis = Redis.from_url(f"unix://{valkey}")
    await client.flushall()
    yield client
    await client.aclose()
