"""What can be set of a keyword entry, from REST and from the command line alike."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from keywords.entry import LONGEST_TERM, MOST_EXCEPTIONS, Action, Boundary, Direction, Match

LARGEST_ID = 2**31 - 1
Time = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Line = Annotated[str, Field(max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]
Reason = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S")]


class EntryFields(BaseModel):
    """What can be set of an entry."""

    model_config = ConfigDict(extra="forbid")

    severity: Annotated[int, Field(ge=1, le=3)] = 2
    action: Action = Action.OBSERVE
    match: Match = Match.FOLDED
    direction: Direction = Direction.BOTH
    boundary: Boundary = Boundary.AUTO
    exceptions: Annotated[list[Annotated[str, Field(max_length=LONGEST_TERM)]], Field(max_length=MOST_EXCEPTIONS)] = []
    mask: Annotated[str, Field(max_length=LONGEST_TERM)] = "*"
    within: Annotated[int, Field(ge=1, le=500)] = 20
    tags: Annotated[list[Tag], Field(max_length=50)] = []
    source: Line = ""
    licence: Line = ""
    note: Annotated[str, Field(max_length=4_000)] = ""
    reviewed_at: Time | None = None
    expires_at: Time | None = None

    def values(self) -> dict[str, Any]:
        """Return what was sent, as an entry has it."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in sent.items()}


class NewEntry(EntryFields):
    """An entry to be made."""

    term: Annotated[str, Field(max_length=LONGEST_TERM)]
    risk: Line


class EntryChanges(EntryFields):
    """Changes to an entry; what is absent stays."""

    term: Annotated[str, Field(max_length=LONGEST_TERM)] = ""
    risk: Line = ""
    force: Reason | None = Field(
        None, description="Why an imported entry may judge or block without a measurement that allows it; kept in note."
    )
