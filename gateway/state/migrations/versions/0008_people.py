"""People: who was seen, aliases, bans, exemptions."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "people",
        sa.Column("id", sa.String(24), primary_key=True),
        sa.Column("tenant", sa.String(64), nullable=False, index=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("first_seen", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger),
    )
    op.create_table(
        "people_aliases",
        sa.Column("alias", sa.String(24), primary_key=True),
        sa.Column("person", sa.String(24), nullable=False, index=True),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("alias_name", sa.Text, nullable=False),
        sa.Column("person_name", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    for name in ("people_bans", "people_exemptions"):
        op.create_table(
            name,
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("person", sa.String(24), nullable=False, index=True),
            sa.Column("reason", sa.Text, nullable=False),
            sa.Column("until", sa.BigInteger),
            sa.Column("made_by", sa.Text, nullable=False),
            sa.Column("created_at", sa.BigInteger, nullable=False),
            sa.Column("ended_at", sa.BigInteger, index=True),
            sa.Column("ended_by", sa.Text),
            sa.Column("ended_why", sa.Text),
        )
    changes = op.create_table(
        "people_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(changes, [{"id": 1, "number": 0}])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("people_changes", "people_exemptions", "people_bans", "people_aliases", "people"):
        op.drop_table(name)
