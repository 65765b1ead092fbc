"""Whose action of a keyword entry is a decision, which no calibration changes by itself."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

DECIDED = """
UPDATE keyword_entries SET decided = true
WHERE (origin = 'hand' AND source != 'mined')
   OR (origin = 'starter' AND action = 'observe')
   OR number IN (
        SELECT entry FROM keyword_changes
        WHERE kind = 'changed' AND NOT within AND CAST(fields AS TEXT) LIKE :action
      )
"""
"""What a person entered; the starter words that only observe; and what the draft's log says was changed by hand."""


def upgrade() -> None:
    """Add the column, and fill it from what is known."""
    op.add_column("keyword_entries", sa.Column("decided", sa.Boolean, nullable=False, server_default=sa.false()))
    op.get_bind().execute(sa.text(DECIDED), {"action": '%"action"%'})


def downgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("keyword_entries") as table:
        table.drop_column("decided")
