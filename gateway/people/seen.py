"""Whose names are known: filled from the log, so that somebody who spoke can be found by the name they go by."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import case, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.entries import Accepted
from gateway.audit.sinks import Heard
from gateway.people.directory import person_id
from gateway.people.tables import people
from gateway.state.inserting import given

HOUR_SECONDS = 3_600
"""How exactly it is kept when somebody was seen last: a row is written in each hour once, not once a turn."""
LONGEST_NAME = 512
"""Characters of a name that are kept; an id is made of all."""


class Sight(NamedTuple):
    """Somebody, and when they were seen first and last (Unix seconds); None: they were only named.

    The first time is exact; the last one is that of a turn in the same hour.
    """

    tenant: str = ""
    name: str = ""
    first: int | None = None
    last: int | None = None


class Seen:
    """The sink that knows people by the turns they began."""

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Know who speaks in *heard*; who speaks as an alias is seen under both ids."""
        found: dict[str, Sight] = {}
        for _, _, record in heard:
            if not isinstance(record, Accepted) or not record.user:
                continue
            at = record.at // 1_000
            own = person_id(record.tenant, record.user)
            _see(found, own, Sight(record.tenant, record.user, at, at))
            if record.person not in {"", own}:
                _see(found, record.person, Sight(record.tenant, "", at, at))
        await remember(connection, found)


def _see(found: dict[str, Sight], person: str, sight: Sight) -> None:
    before = found.get(person, sight)
    first, last = min(before.first or 0, sight.first or 0), max(before.last or 0, sight.last or 0)
    found[person] = Sight(sight.tenant, before.name or sight.name, first, last)


async def remember(connection: AsyncConnection, sights: Mapping[str, Sight]) -> None:
    """Put people into the table, or bring what is there up to date; person id → what is known of them."""
    if not sights:
        return
    rows = [
        {"id": person, "tenant": one.tenant, "name": kept(one.name), "first_seen": one.first, "last_seen": one.last}
        for person, one in sorted(sights.items())  # in one order, so that two writers never wait for each other
    ]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(people).from_select(list(rows[0]), given(connection, people, rows))
    new, old = statement.excluded, people.c
    named = (old.name == "") & (new.name != "")
    earlier = new.first_seen < func.coalesce(old.first_seen, new.first_seen + 1)
    later = new.last_seen // HOUR_SECONDS > func.coalesce(old.last_seen, -HOUR_SECONDS) // HOUR_SECONDS
    changes = {
        "tenant": case((named, new.tenant), else_=old.tenant),
        "name": case((named, new.name), else_=old.name),
        "first_seen": case((earlier, new.first_seen), else_=old.first_seen),
        "last_seen": case((later, new.last_seen), else_=old.last_seen),
    }
    statement = statement.on_conflict_do_update(index_elements=[old.id], set_=changes, where=or_(named, earlier, later))
    await connection.execute(statement)


async def name_of(connection: AsyncConnection, person: str) -> tuple[str, str] | None:
    """Return tenant and name of a person; None: nobody knows them."""
    row = (await connection.execute(select(people.c.tenant, people.c.name).where(people.c.id == person))).first()
    return None if row is None else (row.tenant, row.name)


def kept(name: str) -> str:
    """Return as much of a name as a database keeps: no end of it, and no character that one refuses."""
    return name[:LONGEST_NAME].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
