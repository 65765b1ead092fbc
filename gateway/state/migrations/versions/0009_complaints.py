"""Appeals, complaints, the labels that come of them, and the outbox of the webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def _case() -> list[sa.Column[object]]:
    return [
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False, index=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("content_id", sa.Text, nullable=False, index=True),
        sa.Column("found", sa.JSON, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("risk", sa.String(8)),
        sa.Column("published", sa.Boolean, nullable=False, index=True),
    ]


def upgrade() -> None:
    """Create the four tables."""
    op.create_table(
        "appeals",
        *_case(),
        sa.Column("reason", sa.Text),
        sa.Column("claimed_until", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "complaints",
        *_case(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("decision", sa.String(16)),
        sa.Column("answer", sa.Text),
        sqlite_autoincrement=True,
    )
    for name in ("appeals", "complaints"):
        op.create_index(f"ix_{name}_due", name, ["status", "due_at", "number"])
    op.create_table(
        "labels",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("content_id", sa.Text, nullable=False, index=True),
        sa.Column("part", sa.String(8), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("label", sa.String(16), nullable=False),
        sa.Column("risk", sa.String(8)),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("source_id", sa.String(32), nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("source", "source_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.String(40), nullable=False),
        sa.Column("hook", sa.String(16), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("give_up_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_until", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.UniqueConstraint("event_id", "hook"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["hook", "status", "next_at"])


def downgrade() -> None:
    """Drop the four tables."""
    for name in ("webhook_deliveries", "labels", "complaints", "appeals"):
        op.drop_table(name)
