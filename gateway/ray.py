"""The Ray cluster as the settings name it."""

import importlib.util
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.deployment import Deployment
from backends.launch.ray_client import Cluster, Where
from gateway.settings import Settings

OWNER_FILE = "ray-owner"


def is_wanted(deployments: Sequence[Deployment]) -> bool:
    """Return whether any of *deployments* is placed by Ray."""
    return any(deployment.placement == "ray" for deployment in deployments)


def cluster(settings: Settings, deployments: Sequence[Deployment], folder: Path) -> Cluster | None:
    """Return the cluster, not yet connected; None where nothing is placed there.

    In *folder* stands the name by which the actors know this gateway, also after its restart.
    """
    if not is_wanted(deployments):
        return None
    ray = settings.ray
    return Cluster(Where(ray.address, ray.namespace, ray.python or sys.executable), owner(folder), ray.place_seconds)


def owner(folder: Path) -> str:
    """Return the name of the gateway whose engines' folder this is; made the first time."""
    file = folder / OWNER_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(uuid.uuid4().hex)
    return file.read_text()


def problems(settings: Settings, deployments: Sequence[Deployment]) -> Iterator[str]:
    """Yield what is missing for Ray, where it is wanted."""
    if not is_wanted(deployments):
        return
    if settings.ray.python is None and importlib.util.find_spec("ray") is None:
        yield "ray: Ray is not installed here (docs/ray.md), and `ray.python` names no interpreter that has it"
    if settings.ray.python is not None and shutil.which(settings.ray.python) is None:
        yield f"ray.python: there is no program {settings.ray.python}"
