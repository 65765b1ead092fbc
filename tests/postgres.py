"""A throw-away PostgreSQL: a cluster in a directory of its own, on a free port of loopback."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

OWNERS = ("postgres", "nobody")
"""PostgreSQL does not run as root; then it is one of these."""


def missing() -> str | None:
    """Return what is missing for running PostgreSQL here, or None."""
    if binaries() is None:
        return "PostgreSQL is not installed"
    if importlib.util.find_spec("asyncpg") is None:
        return "asyncpg is not installed"
    return None


def binaries() -> Path | None:
    """Return where the programs of PostgreSQL are, the newest ones; Debian has them off the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return places[-1].parent if places else None


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run a cluster for the block; yield the URL of its server, without a database."""
    programs = binaries()
    assert programs is not None
    owner = _owner() if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as directory:
        if owner is not None:
            shutil.chown(directory, owner)
        with _serving(programs, Path(directory) / "data", owner) as port:
            yield f"postgresql://tester@127.0.0.1:{port}"


@contextlib.contextmanager
def _serving(programs: Path, data: Path, owner: str | None) -> Iterator[int]:
    made = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "tester",
        "--auth=trust",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
    ]
    subprocess.run(made, check=True, capture_output=True, user=owner, cwd="/")
    port = _free_port()
    command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
    with subprocess.Popen(command, user=owner, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _await_server(programs, port)
            yield port
        finally:
            server.send_signal(signal.SIGQUIT)


def create(url: str, name: str) -> str:
    """Make a database and return its URL."""
    programs = binaries()
    assert programs is not None
    subprocess.run([programs / "psql", f"{url}/postgres", "-qc", f"CREATE DATABASE {name}"], check=True)
    return f"{url}/{name}"


def _owner() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in OWNERS if name in names)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_server(programs: Path, port: int) -> None:
    deadline = time.monotonic() + 30
    ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, check=False).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.05)
