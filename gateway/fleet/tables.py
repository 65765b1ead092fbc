"""The table of deployments that were added or changed by REST."""

from sqlalchemy import JSON, BigInteger, Column, Integer, String, Table, Text, UniqueConstraint

from gateway.state.sql import metadata

deployments = Table(
    "deployments",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("node", String(255), nullable=False),
    Column("id", String(32), nullable=False),
    Column("model", Text, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("base", JSON(none_as_null=True)),
    Column("changed_by", String(80), nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    UniqueConstraint("node", "id"),
)
"""*node*: the machine whose engines they are. *base*: what the settings file said when it was changed; none: added."""
