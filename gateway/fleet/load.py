"""What deployments have to do, as the workers count it and as the engines say."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from backends.endpoint import Endpoint
from backends.signals import NAMES, read

PATIENCE_SECONDS = 1.0
"""For an engine to answer /metrics."""


@dataclass(frozen=True, slots=True)
class Loads:
    """As the workers counted it, up to a second ago."""

    in_flight: Mapping[str, int] = field(default_factory=dict)
    """Requests at each replica."""
    tokens_per_second: Mapping[str, float] = field(default_factory=dict)
    """Of answers of each replica that ended in the last second."""
    queued: Mapping[str, int] = field(default_factory=dict)
    """Requests that wait for a replica, by model."""


def counted() -> Loads:
    """Return what the workers have counted: it reads their files. Nothing where processes share no directory."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return Loads()
    found: dict[str, dict[str, float]] = {}
    collector = MultiProcessCollector(CollectorRegistry())  # type: ignore[no-untyped-call]
    for metric in collector.collect():  # type: ignore[no-untyped-call]
        for sample in metric.samples:
            name = sample.labels.get("replica") or sample.labels.get("model")
            if name is not None:
                found.setdefault(sample.name, {})[name] = sample.value
    return Loads(
        {name: int(value) for name, value in found.get("gateway_in_flight_requests", {}).items()},
        found.get("gateway_tokens_per_second", {}),
        {name: int(value) for name, value in found.get("gateway_queued_requests", {}).items()},
    )


async def signals(endpoint: Endpoint, api_key: str | None = None) -> dict[str, float] | None:
    """Return what an engine says of itself: requests running and waiting, and the share of its cache in use.

    None: it has no such metrics, or did not answer.
    """
    if endpoint.engine not in NAMES:
        return None
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    url = f"{'https' if endpoint.tls else 'http'}://{host}:{endpoint.port}{endpoint.base_path}/metrics"
    headers = {"authorization": f"Bearer {api_key}"} if api_key is not None else {}
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, trust_env=False, headers=headers) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return None
    if answer.status_code != 200:
        return None
    found = read(endpoint.engine, answer.content, 0)
    return {"requests": found.others, "cache": found.cache}
