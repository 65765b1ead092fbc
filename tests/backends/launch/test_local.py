"""Where an engine on this machine listens; how it runs is in test_process.py."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import StartFailed
from backends.launch import Spot
from backends.launch.local import Local


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port that somebody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


async def test_a_free_port(tmp_path: Path) -> None:
    """One is found where none is fixed, and a fixed one is taken as it is."""
    local = Local(tmp_path, 1.0)
    spot = await local.place("127.0.0.1", None, 0.1)
    assert not await local.is_taken(spot)
    assert spot == await local.place("127.0.0.1", spot.port, 0.1)


async def test_a_port_that_is_given_back_meanwhile(tmp_path: Path, taken: socket.socket) -> None:
    """It is waited for: an engine before this one may still have it."""
    port = taken.getsockname()[1]
    placing = asyncio.create_task(Local(tmp_path, 1.0).place("127.0.0.1", port, 10.0))
    await asyncio.sleep(0.05)
    taken.close()
    assert Spot("127.0.0.1", port) == await placing


async def test_a_port_that_is_kept(tmp_path: Path, taken: socket.socket) -> None:
    """Whoever listens there would be taken for the engine."""
    local, port = Local(tmp_path, 1.0), taken.getsockname()[1]
    assert await local.is_taken(Spot("127.0.0.1", port))
    with pytest.raises(StartFailed, match=f"port {port} of 127.0.0.1 is taken"):
        await local.place("127.0.0.1", port, 0.1)


async def test_nothing_is_there_that_was_never_started(tmp_path: Path) -> None:
    """A directory without a record holds no engine."""
    local = Local(tmp_path, 1.0)
    assert not local.is_there()
    assert await local.take_over() is None
