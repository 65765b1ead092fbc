"""The outbox: one row for each event and receiver. Times are Unix seconds."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text, UniqueConstraint

from gateway.state.sql import metadata

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"

deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("event_id", String(40), nullable=False),
    Column("hook", String(16), nullable=False),
    Column("host", Text, nullable=False),
    Column("type", String(32), nullable=False),
    Column("person", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("give_up_at", BigInteger, nullable=False),
    Column("claimed_until", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("last_error", Text, nullable=False),
    UniqueConstraint("event_id", "hook"),
    Index("ix_webhook_deliveries_due", "hook", "status", "next_at"),
    sqlite_autoincrement=True,
)
