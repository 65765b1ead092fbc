"""Alembic's entry: migrates on the connection that `sql.opened` gives it."""

from alembic import context

from gateway.state.sql import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
