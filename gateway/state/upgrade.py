"""The newest schema by Alembic's migrations."""

from pathlib import Path

import alembic.command
import alembic.config
from sqlalchemy import Connection


def upgrade(connection: Connection, migrations: Path) -> None:
    """Bring the database behind *connection* to the newest schema, in its transaction."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
