"""The index of the audit log: turns, events, and how far each writer was read."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TEXTS = ("route", "key", "tenant", "person", "user", "address", "model", "replica", "library", "policy", "digest")
INDEXED = ("person", "user", "action", "risk", "mark")
"""Null where there is nothing, which is the case of most turns: those stand in no index."""


def upgrade() -> None:
    """Create the tables; on PostgreSQL turns in partitions, the default one for those of an odd time."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.create_table(
        "audit_cursors",
        sa.Column("writer", sa.Text, primary_key=True),
        sa.Column("file", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary),
    )
    _create_events()
    _create_turns(sqlite=sqlite)
    for name in INDEXED:
        there = sa.text(f'"{name}" IS NOT NULL')
        columns = [name, "accepted_at"]
        op.create_index(f"audit_turns_{name}", "audit_turns", columns, sqlite_where=there, postgresql_where=there)
    op.create_index("audit_turns_key", "audit_turns", ["key", "accepted_at"])
    op.create_index("audit_turns_id", "audit_turns", ["id"])
    unfinished = sa.text("finished_at IS NULL")
    op.create_index(
        "audit_turns_unfinished",
        "audit_turns",
        ["accepted_at"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    if sqlite:
        op.create_index("audit_turns_time", "audit_turns", ["accepted_at", "number"])
        op.execute("CREATE VIRTUAL TABLE audit_terms USING fts5(terms, detail=none, columnsize=0, tokenize='ascii')")
    else:
        op.create_index("audit_turns_terms", "audit_turns", ["terms"], postgresql_using="gin")
        op.execute("CREATE SEQUENCE audit_turn_numbers")
        op.execute("CREATE TABLE audit_turns_other PARTITION OF audit_turns DEFAULT")


def downgrade() -> None:
    """Drop the tables; the log makes them anew."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE audit_terms")
    else:
        op.execute("DROP SEQUENCE audit_turn_numbers")
    for name in ("audit_turns", "audit_events", "audit_cursors"):
        op.drop_table(name)


def _create_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("details", sa.JSON),
    )
    there = sa.text("kind = 'person'")
    op.create_index("audit_events_person", "audit_events", ["target", "at"], sqlite_where=there, postgresql_where=there)


def _create_turns(*, sqlite: bool) -> None:
    """PostgreSQL's key has to hold what partitions go by; SQLite's has to be the row's number alone."""
    key = sa.PrimaryKeyConstraint(*(["number"] if sqlite else ["accepted_at", "number"]))
    op.create_table(
        "audit_turns",
        sa.Column("number", sa.Integer if sqlite else sa.BigInteger, nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        *(sa.Column(name, sa.Text) for name in TEXTS),
        sa.Column("stream", sa.Boolean),
        sa.Column("action", sa.Text),
        sa.Column("risk", sa.Text),
        sa.Column("evidence", sa.JSON),
        sa.Column("observed", sa.JSON),
        sa.Column("counts", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("finish_reason", sa.Text),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("first_token_ms", sa.Float),
        sa.Column("total_ms", sa.Float),
        sa.Column("strike_event", sa.Text),
        sa.Column("strike_at", sa.BigInteger),
        sa.Column("strike", sa.JSON),
        *(
            sa.Column(f"{text}_{what}", kind)
            for text in ("words", "answer")
            for what, kind in (("chars", sa.BigInteger), ("sha256", sa.Text), ("text", sa.Text))
        ),
        sa.Column("mark", sa.Text),
        sa.Column("terms", sa.JSON if sqlite else sa.ARRAY(sa.Text)),
        key,
        postgresql_partition_by="RANGE (accepted_at)",
    )
