"""Who is who: opaque ids of people, aliases, bans and exemptions, as one worker holds them.

SQL owns them; they reach the workers as one published document (`board.PEOPLE`).
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.relay.identity import Person

ID_BYTES = 12


def person_id(tenant: str, user: str) -> str:
    """Return the opaque id of the person whom a *tenant*'s clients call *user*: 24 hex digits."""
    return blake2b(f"{tenant}\0{user}".encode("utf-8", "surrogatepass"), digest_size=ID_BYTES).hexdigest()


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ban or an exemption; *until* in Unix seconds, None: without an end."""

    until: int | None = None

    def holds(self, now: float) -> bool:
        """Return whether it is still in force at *now* (Unix seconds)."""
        return self.until is None or now < self.until


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document: person id → what holds for them."""

    aliases: dict[str, str] = {}
    """Ids that stand for another person."""
    bans: dict[str, Measure] = {}
    exempt: dict[str, Measure] = {}


class Directory:
    """The people that somebody has entered."""

    def __init__(self) -> None:
        self._people = Published()

    def take(self, document: Mapping[str, Any]) -> None:
        """Use a newly published document."""
        self._people = msgspec.convert(dict(document), Published)

    def id_of(self, person: Person) -> str:
        """Return the id under which a person's standing is kept: their own, or of whom they are an alias."""
        own = person_id(person.tenant, person.id)
        return self._people.aliases.get(own, own)

    def ban(self, person: str, now: float) -> Measure | None:
        """Return the ban that holds for a person at *now* (Unix seconds)."""
        found = self._people.bans.get(person)
        return found if found is not None and found.holds(now) else None

    def exempt(self, person: str, now: float) -> bool:
        """Return whether a person is never struck nor suspended at *now* (Unix seconds)."""
        found = self._people.exempt.get(person)
        return found is not None and found.holds(now)
