"""What people entered: SQLite in the data directory, or PostgreSQL by URL."""

import contextlib
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from sqlalchemy import JSON, Boolean, Column, Connection, Integer, MetaData, String, Table, UniqueConstraint, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.settings import Settings

BUSY_MILLISECONDS = 5_000

metadata = MetaData()

client_keys = Table(
    "client_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("tenant", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("prefix", String(32), nullable=False),
    Column("old_digest", String(64)),
    Column("old_until", Integer),
    Column("models", JSON, nullable=False),
    Column("trusts_user_header", Boolean, nullable=False),
    Column("exempt", Boolean, nullable=False),
    Column("allows_remote_images", Boolean, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("expires_at", Integer),
    Column("created_at", Integer, nullable=False),
    Column("disabled_at", Integer),
    UniqueConstraint("tenant", "name"),
)

admin_keys = Table(
    "admin_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", Integer, nullable=False),
    Column("disabled_at", Integer),
)


def database_url(settings: Settings) -> str:
    """Return SQLAlchemy's URL with the asynchronous driver of the database that *settings* mean."""
    if settings.database_url is None:
        return f"sqlite+aiosqlite:///{settings.data_dir.resolve() / 'gateway.sqlite3'}"
    url = make_url(settings.database_url)
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return url.set(drivername=drivers.get(url.drivername, url.drivername)).render_as_string(hide_password=False)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Open the database and bring it to the newest version."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_async_engine(database_url(settings))
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    try:
        with _one_at_a_time(settings.data_dir):
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
        yield engine
    finally:
        await engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_MILLISECONDS}"):
        connection.execute(f"PRAGMA {pragma}").close()


@contextlib.contextmanager
def _one_at_a_time(data_dir: Path) -> Any:
    """Let one process at a time change the schema: the command line may start beside the gateway."""
    with (data_dir / "migration.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _upgrade(connection: Connection) -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
