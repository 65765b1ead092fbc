"""Why something cannot be done about a person."""

from collections.abc import Sequence


class UnknownPerson(Exception):
    """Nobody is known by this id, or by this name."""

    def __init__(self, person: str) -> None:
        super().__init__(f"There is nobody with the id `{person[:64]}`; a lookup by tenant and name tells an id.")


class UnknownName(UnknownPerson):
    """Nobody of the tenant has spoken by this name; *elsewhere* are tenants of which somebody has."""

    def __init__(self, tenant: str, user: str, elsewhere: Sequence[str]) -> None:
        known = f"; of the tenant {', '.join(f'`{one}`' for one in elsewhere)} somebody is" if elsewhere else ""
        Exception.__init__(self, f"Nobody of the tenant `{tenant}` is known as `{user[:64]}`{known}.")


class MeasureRefused(Exception):
    """What is asked makes no sense now; *field* says what of it, *conflict* that something else stands against it."""

    def __init__(self, field: str, text: str, *, conflict: bool = True) -> None:
        super().__init__(text)
        self.field = field
        self.conflict = conflict


class StandingsAway(Exception):
    """Standings cannot be read now, and without them what was asked is not done."""

    def __init__(self) -> None:
        super().__init__("Nobody's standing can be read now, and without it this is not done; ask again.")
