"""Queues on both databases."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from gateway.state import sql


@pytest.fixture
async def queues(database: Settings) -> AsyncIterator[AsyncEngine]:
    """An empty database, of each kind in turn."""
    async with sql.opened(database) as opened:
        yield opened
