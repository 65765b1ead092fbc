"""Who is who: opaque ids of people, aliases, bans and exemptions, as one worker holds them.

SQL owns them; they reach the workers as one published document (`board.PEOPLE`).
"""

from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.relay.identity import Person

ID_BYTES = 12
_ID = 2 * ID_BYTES
"""Characters of an id."""
REMEMBERED = 8_192
"""People of whom a worker knows without a search, which takes 10 µs, whether they are aliases."""


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

    aliases: str = ""
    """Ids that stand for another person, see `packed`."""
    bans: dict[str, Measure] = {}
    exempt: dict[str, Measure] = {}


def packed(aliases: Mapping[str, str]) -> str:
    """Return pairs of alias and person, in order and one behind the other.

    A hundred thousand of them are one string, which a worker takes up in 2 ms; a table of them held it up for 160.
    """
    return "".join(sorted(alias + person for alias, person in aliases.items()))


class Directory:
    """The people that somebody has entered."""

    def __init__(self) -> None:
        self._people = Published()
        self._pairs = range(0)
        self._found: dict[str, str] = {}

    def take(self, document: Mapping[str, Any]) -> None:
        """Use a newly published document."""
        people = msgspec.convert(dict(document), Published)
        self._people, self._pairs, self._found = people, range(len(people.aliases) // (2 * _ID)), {}

    def id_of(self, person: Person) -> str:
        """Return the id under which a person's standing is kept: their own, or of whom they are an alias."""
        own = person_id(person.tenant, person.id)
        if not self._pairs:
            return own
        found = self._found.get(own)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[own] = self._main(own)
        return found

    def _main(self, own: str) -> str:
        start = 2 * _ID * bisect_left(self._pairs, own, key=self._alias)
        alias, person = self._people.aliases[start : start + _ID], self._people.aliases[start + _ID : start + 2 * _ID]
        return person if alias == own else own

    def _alias(self, pair: int) -> str:
        return self._people.aliases[2 * _ID * pair : 2 * _ID * pair + _ID]

    def ban(self, person: str, now: float) -> Measure | None:
        """Return the ban that holds for a person at *now* (Unix seconds)."""
        found = self._people.bans.get(person)
        return found if found is not None and found.holds(now) else None

    def exempt(self, person: str, now: float) -> bool:
        """Return whether a person is never struck nor suspended at *now* (Unix seconds)."""
        found = self._people.exempt.get(person)
        return found is not None and found.holds(now)
