"""Why something cannot be done about a person."""


class UnknownPerson(Exception):
    """Nobody is known by this id."""

    def __init__(self, person: str) -> None:
        super().__init__(f"There is nobody with the id `{person[:64]}`; a lookup by tenant and name tells an id.")


class MeasureRefused(Exception):
    """What is asked makes no sense now; *field* says what of it, *conflict* that something else stands against it."""

    def __init__(self, field: str, text: str, *, conflict: bool = True) -> None:
        super().__init__(text)
        self.field = field
        self.conflict = conflict


class StandingsAway(Exception):
    """Standings cannot be read now; nothing was done."""

    def __init__(self) -> None:
        super().__init__("Nobody's standing can be read now; nothing was done.")
