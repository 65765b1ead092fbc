"""Tables of the index: made from the log alone, and never the only place of anything.

On PostgreSQL `audit_turns` is partitioned by week (`gateway.audit.expiry`) and searched through an array; SQLite has
no such index, and keeps the same terms in the full-text table `audit_terms`.
"""

from sqlalchemy import ARRAY, JSON, BigInteger, Boolean, Column, Float, Integer, LargeBinary, Table, Text, column, table

from gateway.state.sql import metadata

Number = BigInteger().with_variant(Integer, "sqlite")
Document = JSON(none_as_null=True)

audit_cursors = Table(
    "audit_cursors",
    metadata,
    Column("writer", Text, primary_key=True),
    Column("file", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary),
)
"""How far each writer was read."""

audit_turns = Table(
    "audit_turns",
    metadata,
    Column("number", Number, primary_key=True),
    Column("writer", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the first record that was read of it
    Column("id", Text, nullable=False),
    Column("accepted_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("route", Text),
    Column("key", Text),
    Column("tenant", Text),
    Column("person", Text),
    Column("user", Text),
    Column("address", Text),
    Column("model", Text),
    Column("replica", Text),
    Column("stream", Boolean),
    Column("library", Text),
    Column("policy", Text),
    Column("digest", Text),
    Column("action", Text),
    Column("risk", Text),
    Column("evidence", Document),
    Column("observed", Document),
    Column("counts", Text),
    Column("outcome", Text),
    Column("status", Integer),
    Column("finish_reason", Text),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("first_token_ms", Float),
    Column("total_ms", Float),
    Column("strike_event", Text),
    Column("strike_at", BigInteger),
    Column("strike", Document),
    Column("words_chars", BigInteger),
    Column("words_sha256", Text),
    Column("words_text", Text),
    Column("answer_chars", BigInteger),
    Column("answer_sha256", Text),
    Column("answer_text", Text),
    Column("mark", Text),
    Column("terms", ARRAY(BigInteger).with_variant(JSON(none_as_null=True), "sqlite")),  # PostgreSQL's alone
)
"""One row a turn. Null: not known, or nothing."""

audit_events = Table(
    "audit_events",
    metadata,
    Column("number", Number, primary_key=True),
    Column("writer", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("details", Document),
    Column("id", Text),  # of the record; joins the one before something is done with the one that says how it ended
    Column("role", Text),
    Column("address", Text),
    Column("outcome", Text),
    Column("status", Integer),
    Column("alias", Text),
)
"""What admins did (kind ``admin``), what is to be done about a person (``person``), and what came of it (``applied``).

Null: not known, or nothing.
"""

audit_terms = table("audit_terms", column("rowid"), column("terms"))
PARTS = 4
"""SQLite's full-text table. Turn number n has the rows from `PARTS` · n on, one for each record that brought terms."""

NUMBERS = "audit_turn_numbers"
"""PostgreSQL's sequence of `audit_turns.number`."""
