"""An older database, for tests of what its upgrade makes of it."""

import alembic.command
import alembic.config
from sqlalchemy import Connection

from gateway.state import sql


def migrate(connection: Connection, revision: str) -> None:
    """Bring the database up to `head`, or down to an older revision."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(sql.Path(sql.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    down = revision != "head"
    (alembic.command.downgrade if down else alembic.command.upgrade)(config, revision)
