"""Who goes first where requests wait for a replica, by key."""

import sqlalchemy as sa
from alembic import op

revision = "0007_priority"
down_revision = "0012"


def upgrade() -> None:
    """Add the column; the keys that are there are equals."""
    with op.batch_alter_table("client_keys") as table:
        table.add_column(sa.Column("priority", sa.String(16), nullable=False, server_default="normal"))


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("client_keys") as table:
        table.drop_column("priority")
