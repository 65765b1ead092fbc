"""The age of the library in the metrics."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from gateway import library_age
from gateway.library_age import told
from gateway.metrics import LibraryMetrics
from gateway.tasks import ended
from tests.gateway.conftest import eventually


@dataclass
class Standing:
    live: int | None


class Versions:
    def __init__(self) -> None:
        self.live: int | None = None
        self.away = False
        self.looks = 0

    async def standing(self) -> Standing:
        self.looks += 1
        if self.away:
            raise OperationalError("SELECT", {}, Exception("locked"))
        return Standing(self.live)

    async def get(self, n: int) -> dict[str, Any]:
        return {"created_at": 1_800_000_000 + n}


async def test_the_live_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is one it is 0; with the database away it stays."""
    monkeypatch.setattr(library_age, "LOOK_SECONDS", 0.005)
    registry, versions = CollectorRegistry(), Versions()

    def value() -> float | None:
        return registry.get_sample_value("gateway_keywords_live_timestamp_seconds")

    task = asyncio.create_task(told(versions, LibraryMetrics(registry)))
    await eventually(lambda: versions.looks > 1)
    assert value() == 0
    versions.live = 3
    await eventually(lambda: value() == 1_800_000_003)
    versions.away = True
    looks = versions.looks
    await eventually(lambda: versions.looks > looks + 2)
    assert value() == 1_800_000_003
    await ended([task])
