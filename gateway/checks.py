"""What `gateway check` and `gateway serve` look at before anything is started: this machine, and settings together."""

import errno
import importlib.util
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from backends import preflight
from backends.deployment import Deployment, Engine
from backends.errors import DeploymentInvalid, NotNow
from gateway import embedded
from gateway.settings import Settings


class Found(NamedTuple):
    """What is wrong, each with its setting."""

    wrong: list[str]
    """With the settings: nothing can start."""
    passing: list[str]
    """With the machine, now: somebody else has a port or memory, and a replica cannot start until it is given back."""


def problems(settings: Settings) -> list[str]:
    """Return what is wrong, each with its setting. Nothing is made or started."""
    found = look(settings)
    return [*found.wrong, *found.passing]


def look(settings: Settings) -> Found:
    """Return what is wrong, that with the machine of this moment apart. May ask nvidia-smi, which takes seconds."""
    deployments = settings.deployments if settings.deployments is not None else embedded.deployments()
    of_engines, _ = of_deployments(settings, deployments)
    passing = [str(problem) for problem in of_engines if isinstance(problem, NotNow)]
    wrong = [
        *_hosts(settings),
        *_data_dir(settings.data_dir.absolute()),
        *_database(settings.database_url),
        *(str(problem) for problem in of_engines if not isinstance(problem, NotNow)),
    ]
    return Found(wrong, passing)


def of_deployments(settings: Settings, deployments: Sequence[Deployment]) -> tuple[list[DeploymentInvalid], str | None]:
    """Return what is wrong with *deployments* on this machine, and a remark on what could not be looked at.

    May ask nvidia-smi, which takes seconds: not for an event loop.
    """
    machine = preflight.look(deployments, run_dir(settings), settings.gpus)
    return [*preflight.examine(deployments, machine), *_ports(settings, deployments)], machine.remark


def run_dir(settings: Settings) -> Path:
    """Return where the engines' folders lie."""
    return settings.data_dir.absolute() / "engines"


def cannot_listen(host: str, port: int, setting: str = "") -> str | None:
    """Return why nobody can listen there now, beginning with GATEWAY_…HOST or …PORT, whichever is to blame.

    *setting*: ``ADMIN_`` for the admin port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            of_the_port = error.errno in {errno.EADDRINUSE, errno.EACCES}
            name = f"GATEWAY_{setting}{'PORT' if of_the_port else 'HOST'}"
            where = f"{host}:{port}" if port else host
            return f"{name}: cannot listen on {where}: {error.strerror}"
        except (UnicodeError, ValueError):
            return f"GATEWAY_{setting}HOST: `{host}` is no address"
    return None


def _hosts(settings: Settings) -> Iterator[str]:
    """Try any free port: a gateway may be running on its own while its settings are checked."""
    for host, setting in ((settings.host, ""), (settings.admin_host, "ADMIN_")):
        complaint = cannot_listen(host, 0, setting)
        if complaint is not None:
            yield complaint


def _data_dir(path: Path) -> Iterator[str]:
    there = next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())
    if not there.is_dir():
        yield f"data_dir: {there} is no folder"
    elif there == path and path.stat().st_uid != os.getuid():
        yield f"data_dir: {path} belongs to another user"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield f"data_dir: {path} cannot be made or written: {there} is not open to this user"


def _database(url: str | None) -> Iterator[str]:
    parts = urlsplit(url or "")
    if parts.scheme.startswith("postgres") and importlib.util.find_spec("asyncpg") is None:
        yield "database_url: PostgreSQL needs a package that is not installed: pip install asyncpg"
    if parts.scheme.startswith("sqlite") and not (folder := Path(parts.path[1:]).absolute().parent).is_dir():
        yield f"database_url: there is no folder {folder}"


def _ports(settings: Settings, deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    own = {settings.port: "port", settings.admin_port: "admin_port"}
    for i, deployment in enumerate(deployments):
        for port in own.keys() & deployment.ports if deployment.engine is not Engine.EXTERNAL else ():
            yield DeploymentInvalid(f"deployments[{i}].port", f"{port} is the gateway's own `{own[port]}`")
