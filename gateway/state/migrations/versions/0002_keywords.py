"""The keyword library: its draft, its frozen versions and what was released when."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "keyword_entries",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("key", sa.String(64), nullable=False, unique=True),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("term", sa.String(200), nullable=False),
        sa.Column("risk", sa.String(8), nullable=False, index=True),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("action", sa.String(16), nullable=False, index=True),
        sa.Column("match", sa.String(16), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("boundary", sa.String(8), nullable=False),
        sa.Column("exceptions", sa.JSON, nullable=False),
        sa.Column("mask", sa.Text, nullable=False),
        sa.Column("within", sa.Integer, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("added_by", sa.Text, nullable=False),
        sa.Column("reviewed_at", sa.Integer),
        sa.Column("expires_at", sa.Integer),
        sa.Column("benign_hits", sa.Integer),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Integer, nullable=False),
        sa.Column("touched", sa.BigInteger, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "keyword_versions",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha", sa.String(64), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("entries", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "keyword_releases",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("n", sa.Integer, sa.ForeignKey("keyword_versions.n"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("canary_until", sa.Integer),
        sa.Column("live_at", sa.Integer),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop the three tables."""
    for name in ("keyword_releases", "keyword_versions", "keyword_entries"):
        op.drop_table(name)
