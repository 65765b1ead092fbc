"""The Ray cluster as the settings name it."""

import importlib.util
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.deployment import Deployment
from backends.errors import DeploymentInvalid
from backends.launch.ray_client import Cluster, Where
from gateway.settings import Ray, Settings

OWNER_FILE = "ray-owner"


def cluster(ray: Ray, folder: Path) -> Cluster:
    """Return the cluster; nothing is connected before the first question.

    In *folder* stands the name by which the actors know this gateway, also after its restart.
    """
    where = Where(ray.address, ray.namespace, ray.python or sys.executable)
    return Cluster(where, lambda: owner(folder), ray.place_seconds)


def owner(folder: Path) -> str:
    """Return the name of the gateway whose engines' folder this is; made the first time."""
    file = folder / OWNER_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(uuid.uuid4().hex)
    return file.read_text()


def problems(settings: Settings, deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    """Yield what is missing for Ray, where it is wanted."""
    python = settings.ray.python
    complaint = None
    if python is None and importlib.util.find_spec("ray") is None:
        complaint = "Ray is not installed here (docs/ray.md), and `ray.python` names no interpreter that has it"
    if python is not None and shutil.which(python) is None:
        complaint = f"there is no program {python}, which `ray.python` names"
    for i, deployment in enumerate(deployments):
        if complaint is not None and not deployment.is_here:
            yield DeploymentInvalid(f"deployments[{i}].placement", complaint)
