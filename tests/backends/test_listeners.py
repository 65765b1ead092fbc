"""Who listens on a port."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from backends.engines.family import Command
from backends.listeners import exists, is_ours, listening, ours, parent_of, stranger_on
from backends.ports import free_port, is_free
from backends.process import Process

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F43 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 51234 1 0000000000000000 100 0 0 10 0
   1: 00000000:1F43 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 51235 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F44 0100007F:D2A1 01 00000000:00000000 00:00000000 00000000     0        0 51236 1 0000000000000000 20 4 30 10 -1
"""
LISTENS = "import socket, sys, time;\ns = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def test_the_kernels_table() -> None:
    """Only listening sockets count, on whatever address; ports and inodes are read."""
    assert {8003: {"51234", "51235"}} == listening(TABLE)
    assert listening("") == {}


def test_a_parent_behind_a_strange_name() -> None:
    """A program's name may hold blanks and brackets."""
    assert parent_of("4711 (a) b (c) S 42 4711 4711 0 -1 4194304") == 42


def test_a_stranger_is_named(tmp_path: Path) -> None:
    """Whoever listens is shown with process and command; a free port has nobody."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = stranger_on("127.0.0.1", port, tmp_path)
        assert found is not None
        assert (port, os.getpid()) == (found.port, found.pid)
        assert str(found).startswith(f"process {os.getpid()} (")
    assert stranger_on("127.0.0.1", port, tmp_path) is None


def test_a_passing_connection_is_no_listener(tmp_path: Path) -> None:
    """A port that a connection goes out from is taken for a moment only."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        port = client.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert stranger_on("127.0.0.1", port, tmp_path) is None


async def test_an_engine_of_ours_is_no_stranger(tmp_path: Path) -> None:
    """What runs under a shim whose folder is ours may be stopping, or be kept; under another gateway's it is strange."""
    port = free_port("127.0.0.1")
    process = Process(tmp_path / "engines" / "m_0", 1.0)
    await process.start(Command((sys.executable, "-c", LISTENS, str(port))))
    try:
        deadline = time.monotonic() + 60
        while is_free("127.0.0.1", port):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert stranger_on("127.0.0.1", port, tmp_path / "engines") is None
        assert ours(tmp_path / "engines")
        found = stranger_on("127.0.0.1", port, tmp_path / "other")
        assert found is not None
        assert found.pid is not None
        assert is_ours(found.pid, tmp_path / "engines")
        assert not is_ours(found.pid, tmp_path / "other")
        assert found.command.startswith(f"{sys.executable} -c import socket")
        assert len(found.command) <= 80
    finally:
        await process.stop()
    assert not ours(tmp_path / "engines")


@pytest.mark.parametrize(("pid", "there"), [(1, True), (2**22 + 1, False)])
def test_processes(pid: int, there: bool) -> None:
    """A process that is not there is nobody's."""
    assert there == exists(pid)
    assert not is_ours(pid, Path("/"))
