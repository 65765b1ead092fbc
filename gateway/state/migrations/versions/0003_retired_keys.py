"""Secrets that were rotated away, and how often the keys were changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create both tables; the secrets that are still known from the last rotation are retired ones."""
    retired = op.create_table(
        "retired_keys",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("retired_at", sa.Integer, nullable=False),
    )
    changes = op.create_table(
        "key_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(changes, [{"id": 1, "number": 0}])
    keys = sa.table("client_keys", sa.column("old_digest"), sa.column("created_at"))
    rotated = sa.select(keys.c.old_digest, keys.c.created_at).where(keys.c.old_digest.is_not(None)).distinct()
    op.execute(sa.insert(retired).from_select(["digest", "retired_at"], rotated))


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("key_changes")
    op.drop_table("retired_keys")
