"""Admins with roles: who made them, until when they are let in, when they came last."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ADDED = ("role", "prefix", "created_by", "expires_at", "last_used")


def upgrade() -> None:
    """Add the columns; who was an admin before roles were, may do everything."""
    with op.batch_alter_table("admin_keys") as table:
        table.add_column(sa.Column("role", sa.String(16), nullable=False, server_default="admin"))
        table.add_column(sa.Column("prefix", sa.String(32), nullable=False, server_default=""))
        table.add_column(sa.Column("created_by", sa.String(80), nullable=False, server_default=""))
        table.add_column(sa.Column("expires_at", sa.BigInteger))
        table.add_column(sa.Column("last_used", sa.BigInteger))


def downgrade() -> None:
    """Drop the columns."""
    with op.batch_alter_table("admin_keys") as table:
        for name in ADDED:
            table.drop_column(name)
