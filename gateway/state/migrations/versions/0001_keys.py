"""Client keys and admin keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "client_keys",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("prefix", sa.String(32), nullable=False),
        sa.Column("old_digest", sa.String(64)),
        sa.Column("old_until", sa.Integer),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("trusts_user_header", sa.Boolean, nullable=False),
        sa.Column("exempt", sa.Boolean, nullable=False),
        sa.Column("allows_remote_images", sa.Boolean, nullable=False),
        sa.Column("limits", sa.JSON, nullable=False),
        sa.Column("expires_at", sa.Integer),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("disabled_at", sa.Integer),
        sa.UniqueConstraint("tenant", "name"),
    )
    op.create_table(
        "admin_keys",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("disabled_at", sa.Integer),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("admin_keys")
    op.drop_table("client_keys")
