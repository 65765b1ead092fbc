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
ALONE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
EMPTY = """DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE 'DELETE FROM ' || quote_ident(name);
    END LOOP;
END $$"""
"""Rows are deleted: to truncate tables takes longer where they have few."""


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
    _psql(f"{url}/postgres", f"CREATE DATABASE {name}")
    return f"{url}/{name}"


def contents(url: str) -> str:
    """Return the statements that fill the tables of a database as they are now, and set its sequences."""
    programs = binaries()
    assert programs is not None
    dump = [programs / "pg_dump", url, "--data-only", "--inserts", "--exclude-table=alembic_version"]
    return subprocess.run(dump, check=True, capture_output=True, text=True).stdout


def refill(url: str, contents: str) -> None:
    """Bring a database, of which nobody has use any more, back to *contents*: a tenth of what a new one takes."""
    _psql(url, f"{ALONE};SET session_replication_role = replica;{EMPTY};{contents}")


def _psql(url: str, statements: str) -> None:
    programs = binaries()
    assert programs is not None
    command = [programs / "psql", url, "-qXv", "ON_ERROR_STOP=1"]
    subprocess.run(command, check=True, input=statements, text=True, stdout=subprocess.DEVNULL)


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
