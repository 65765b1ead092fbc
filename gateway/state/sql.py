"""What people entered: SQLite in the data directory, or PostgreSQL by URL."""

import contextlib
import fcntl
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    inspect,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.settings import Settings
from gateway.state.errors import DatabaseUnavailable

BUSY_MILLISECONDS = 5_000
MIGRATIONS = Path(__file__).parent / "migrations"
REVISION = 4
"""Digits of a migration's number, with which the name of its file begins."""
MIGRATION_LOCK = 7_320_451
"""Of PostgreSQL's advisory locks, the one of whoever changes the schema; any number that is always the same."""


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
    Column("old_until", BigInteger),
    Column("models", JSON, nullable=False),
    Column("trusts_user_header", Boolean, nullable=False),
    Column("exempt", Boolean, nullable=False),
    Column("allows_remote_images", Boolean, nullable=False),
    Column("content_label", String(16), nullable=False),
    Column("label_agreement", String(200)),
    Column("embeddings_guard", String(16), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("limits", JSON, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    UniqueConstraint("tenant", "name"),
)

retired_keys = Table(
    "retired_keys",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("retired_at", BigInteger, nullable=False),
)

key_changes = Table(
    "key_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

admin_keys = Table(
    "admin_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("role", String(16), nullable=False),
    Column("prefix", String(32), nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used", BigInteger),
)

keyword_entries = Table(
    "keyword_entries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("origin", String(16), nullable=False),
    Column("term", String(200), nullable=False),
    Column("risk", String(8), nullable=False, index=True),
    Column("severity", Integer, nullable=False),
    Column("action", String(16), nullable=False, index=True),
    Column("match", String(16), nullable=False),
    Column("direction", String(8), nullable=False),
    Column("boundary", String(8), nullable=False),
    Column("exceptions", JSON, nullable=False),
    Column("mask", Text, nullable=False),
    Column("within", Integer, nullable=False),
    Column("tags", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("licence", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("reviewed_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("benign_hits", Integer),
    Column("benign_texts", Integer),
    Column("decided", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("touched", BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,  # the number of a deleted entry stands in versions and is not given away again
)

keyword_versions = Table(
    "keyword_versions",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("sha", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("entries", LargeBinary, nullable=False),
)

keyword_releases = Table(
    "keyword_releases",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("n", Integer, ForeignKey("keyword_versions.n"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("why", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("canary_until", BigInteger),
    Column("live_at", BigInteger),
    sqlite_autoincrement=True,
)


async def alone(connection: AsyncConnection, table: Table) -> None:
    """Let nobody else write *table* until the transaction, of which this is the first statement, is over.

    What is read from here on is still so when it is acted upon. On SQLite the whole database is held.
    """
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        await connection.exec_driver_sql(f"LOCK TABLE {table.name} IN SHARE ROW EXCLUSIVE MODE")


def database_url(settings: Settings) -> str:
    """Return SQLAlchemy's URL with the asynchronous driver of the database that *settings* mean."""
    if settings.database_url is None:
        return f"sqlite+aiosqlite:///{settings.data_dir.resolve() / 'gateway.sqlite3'}"
    url = make_url(settings.database_url)
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return url.set(drivername=drivers.get(url.drivername, url.drivername)).render_as_string(hide_password=False)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Open the database and bring it to the newest version. Raises `DatabaseUnavailable`."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        engine = create_async_engine(database_url(settings))
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(f"database_url: pip install {error.name}") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    try:
        await _bring_up_to_date(engine, settings.data_dir)
        yield engine
    finally:
        await engine.dispose()


async def _bring_up_to_date(engine: AsyncEngine, data_dir: Path) -> None:
    try:
        with _one_at_a_time(data_dir):
            async with engine.begin() as connection:
                await connection.run_sync(_upgrade)
    except (SQLAlchemyError, OSError) as error:
        what = getattr(error, "orig", None) or error  # the driver's words, without the statement around them
        raise DatabaseUnavailable(f"database_url: the database cannot be opened: {what}") from None


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
    """Change the schema, where it is not the newest: Alembic is loaded for that alone."""
    if connection.dialect.name == "postgresql":  # gateways on other machines may start beside this one
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
    if not _is_newest(connection):
        import_module("gateway.state.upgrade").upgrade(connection, MIGRATIONS)


def _is_newest(connection: Connection) -> bool:
    """Return whether the schema is that of the migration with the highest number."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    newest = max(file.name for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))[:REVISION]
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    return [newest] == list(found)
