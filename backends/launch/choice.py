"""Which launcher a replica gets."""

from pathlib import Path

from backends.deployment import Deployment
from backends.launch import Launcher
from backends.launch.local import Local
from backends.launch.plan import resources
from backends.launch.ray import OnRay
from backends.launch.ray_client import Cluster
from backends.process import Outlive


def launcher(  # noqa: PLR0913 - what each kind is told
    deployment: Deployment,
    replica: str,
    run_dir: Path,
    cluster: Cluster | None,
    *,
    outlive: Outlive | None,
    log_bytes: int,
) -> Launcher:
    """Return what starts the engine of *replica*: on this machine, or by *cluster*, which one on Ray needs."""
    grace = deployment.stop_grace_seconds
    if deployment.is_here:
        return Local(run_dir, grace, outlive=outlive, log_bytes=log_bytes)
    if cluster is None:
        raise ValueError(f"{replica} has no Ray cluster")
    return OnRay(run_dir, replica, cluster, grace, needs=resources(deployment), outlive=outlive, log_bytes=log_bytes)
