"""How many texts an entry was measured on; and times that do not end in 2038."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIMES = {
    "client_keys": ("old_until", "expires_at", "created_at", "disabled_at"),
    "admin_keys": ("created_at", "disabled_at"),
    "retired_keys": ("retired_at",),
    "keyword_entries": ("reviewed_at", "expires_at", "created_at", "updated_at"),
    "keyword_versions": ("created_at",),
    "keyword_releases": ("created_at", "canary_until", "live_at"),
}
"""Columns of Unix seconds. SQLite's integers have 64 bits whatever they are called."""


def upgrade() -> None:
    """Add the column; what was measured before was measured on nobody knows how many texts."""
    op.add_column("keyword_entries", sa.Column("benign_texts", sa.Integer))
    _set_times(sa.BigInteger())


def downgrade() -> None:
    """Drop the column."""
    _set_times(sa.Integer())
    with op.batch_alter_table("keyword_entries") as table:
        table.drop_column("benign_texts")


def _set_times(kind: sa.Integer) -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, columns in TIMES.items():
        for column in columns:
            op.alter_column(table, column, type_=kind)
