"""Events of the index: which record, in which role, from where, with what result; suspensions are found by person."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0007_priority"

TEXTS = ("id", "role", "address", "outcome", "alias")
SUSPENSIONS = "audit_turns_struck"


def upgrade() -> None:
    """Add the columns; of events that are there they are null, until the index is made anew from the log."""
    for name in TEXTS:
        op.add_column("audit_events", sa.Column(name, sa.Text))
    op.add_column("audit_events", sa.Column("status", sa.Integer))
    op.drop_index("audit_events_person", "audit_events")
    for name in ("target", "by"):
        op.create_index(f"audit_events_{name}", "audit_events", [name, "at"])
    for name in ("id", "alias"):
        there = sa.text(f"{name} IS NOT NULL")
        op.create_index(f"audit_events_{name}", "audit_events", [name], sqlite_where=there, postgresql_where=there)
    there = sa.text("strike_event IS NOT NULL")
    columns = ["person", "strike_at"]
    op.create_index(SUSPENSIONS, "audit_turns", columns, sqlite_where=there, postgresql_where=there)


def downgrade() -> None:
    """Drop the columns; the log has what was in them."""
    op.drop_index(SUSPENSIONS, "audit_turns")
    for name in ("target", "by", "id", "alias"):
        op.drop_index(f"audit_events_{name}", "audit_events")
    there = sa.text("kind = 'person'")
    op.create_index("audit_events_person", "audit_events", ["target", "at"], sqlite_where=there, postgresql_where=there)
    with op.batch_alter_table("audit_events") as table:
        for name in (*TEXTS, "status"):
            table.drop_column(name)
