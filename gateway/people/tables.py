"""The tables of people: who was seen, whose ids are one person's, who is banned, who is exempt."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, String, Table, Text

from gateway.people.directory import ID_BYTES
from gateway.state.sql import metadata

ID = String(2 * ID_BYTES)

people = Table(
    "people",
    metadata,
    Column("id", ID, primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("first_seen", BigInteger),
    Column("last_seen", BigInteger),
)
"""Whoever spoke or was looked up; empty names: known by the id alone. Times are Unix seconds.

`first_seen` is exact, `last_seen` the time of a turn of the same hour as the last one.
"""

people_aliases = Table(
    "people_aliases",
    metadata,
    Column("alias", ID, primary_key=True),
    Column("person", ID, nullable=False, index=True),
    Column("tenant", String(64), nullable=False),
    Column("alias_name", Text, nullable=False),
    Column("person_name", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)


def _measures(name: str) -> Table:
    """Return a table of what holds for people until it ends; rows stay when it has ended."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True),
        Column("person", ID, nullable=False, index=True),
        Column("reason", Text, nullable=False),
        Column("until", BigInteger),
        Column("made_by", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("ended_at", BigInteger, index=True),
        Column("ended_by", Text),
        Column("ended_why", Text),
    )


people_bans = _measures("people_bans")
people_exemptions = _measures("people_exemptions")

people_changes = Table(
    "people_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)
"""One row, whose number grows with every change of aliases, bans and exemptions; its lock is theirs."""

people_events = Table(
    "people_events",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("writer", String(64), nullable=False),
    Column("person", ID, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("seq", BigInteger, nullable=False),
    Column("utterance", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("ended", Boolean, nullable=False),
)
"""What counts, of the logs of all gateways on this database: see `gateway.people.elsewhere`."""
