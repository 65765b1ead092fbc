"""Writers on a directory of their own."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.writer import Writer, open_writer
from gateway.settings import Settings
from gateway.state import sql

Opened = Callable[..., Writer]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The audit directory."""
    return tmp_path / "audit"


@pytest.fixture
def opened(root: Path) -> Iterator[Opened]:
    """Opens writers, which are closed in the end."""
    made = []

    def opened(kind: str = "w", **options: int) -> Writer:
        made.append(open_writer(root, kind, **options))
        return made[-1]

    yield opened
    for writer in made:
        writer.close()


@pytest.fixture
async def engine(database: Settings) -> AsyncIterator[AsyncEngine]:
    """An empty database of each kind."""
    async with sql.opened(database) as made:
        yield made
