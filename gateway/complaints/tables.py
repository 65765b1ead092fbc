"""Appeals, complaints, and the labels that staff's decisions make. Times are Unix seconds.

What clients said has columns without a length: a value that does not fit would stop whoever follows the log.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from gateway.complaints.published import OPEN
from gateway.state.sql import metadata


def _case() -> tuple[Column[object], ...]:
    """Return what both kinds of case have."""
    return (
        Column("number", Integer, primary_key=True),
        Column("id", String(32), nullable=False, unique=True),
        Column("tenant", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("person", Text, nullable=False, index=True),
        Column("user", Text, nullable=False),
        Column("address", Text, nullable=False),
        Column("text", Text, nullable=False),
        Column("content_id", Text, nullable=False, index=True),
        Column("found", JSON, nullable=False),
        Column("received_at", BigInteger, nullable=False),
        Column("due_at", BigInteger, nullable=False),
        Column("status", String(16), nullable=False, default=OPEN),
        Column("decided_by", Text),
        Column("decided_at", BigInteger),
        Column("risk", String(8)),
        Column("published", Boolean, nullable=False, default=False, index=True),
    )


appeals = Table(
    "appeals",
    metadata,
    *_case(),
    Column("reason", Text),
    Column("claimed_until", BigInteger, nullable=False, default=0),
    Index("ix_appeals_due", "status", "due_at", "number"),
    sqlite_autoincrement=True,
)

complaints = Table(
    "complaints",
    metadata,
    *_case(),
    Column("kind", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("decision", String(16)),
    Column("answer", Text),
    Index("ix_complaints_due", "status", "due_at", "number"),
    sqlite_autoincrement=True,
)

labels = Table(
    "labels",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("content_id", Text, nullable=False, index=True),
    Column("part", String(8), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("label", String(16), nullable=False),
    Column("risk", String(8)),
    Column("source", String(16), nullable=False),
    Column("source_id", String(32), nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    UniqueConstraint("source", "source_id"),
    sqlite_autoincrement=True,
)
