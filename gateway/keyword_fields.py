"""What can be asked of the keyword library, from REST and from the command line alike."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.keyword_changes import Kind
from gateway.keyword_changes import Search as ChangesSearch
from gateway.keyword_store import EntryInvalid, Filter, TermTaken, UnknownEntry
from gateway.keyword_texts import TextsInvalid
from gateway.keyword_versions import NotNow, UnknownVersion
from gateway.reasons import Reason
from keywords.entry import ASKED_ONLY, LONGEST_TERM, MOST_EXCEPTIONS, Action, Boundary, Direction, Match
from keywords.risks import RISKS

LARGEST_ID = 2**31 - 1
Time = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Line = Annotated[str, Field(max_length=200)]
Tag = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]


def _known(risk: str) -> str:
    if risk not in RISKS:
        shown = {"risk": risk[:80], "count": len(RISKS), "risks": ", ".join(RISKS)}
        raise PydanticCustomError("risk", "`{risk}` is none of the {count} risks: {risks}", shown)
    return risk


RiskId = Annotated[str, AfterValidator(_known)]


class Note(BaseModel):
    """What is new in a version."""

    note: Reason


MISSING = "is missing: say why, for those who read the log"


class Why(BaseModel):
    """Why something is done; the same words for one that is missing, wherever it is asked for."""

    model_config = ConfigDict(extra="forbid")

    why: Annotated[Reason | None, Field(validate_default=True, description="For the log.")] = None

    @field_validator("why")
    @classmethod
    def _is_said(cls, why: str | None) -> str | None:
        if why is None:
            raise PydanticCustomError("missing", MISSING)
        return why


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
    risk: RiskId

    def values(self) -> dict[str, Any]:
        """Return what was sent; the direction need not be, where there is only one."""
        return ({"direction": Direction.IN} if self.match in ASKED_ONLY else {}) | super().values()


class EntryChanges(EntryFields):
    """Changes to an entry; what is absent stays."""

    term: Annotated[str, Field(max_length=LONGEST_TERM)] = ""
    risk: RiskId = ""
    force: Reason | None = Field(
        None, description="Why an imported entry may judge or block without a measurement that allows it; kept in note."
    )


class Search(BaseModel):
    """Which entries are listed."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[int, Field(ge=0, le=LARGEST_ID, description="The last id of the page before.")] = 0
    q: str | None = Field(None, max_length=LONGEST_TERM, description="Part of the term.")
    risk: RiskId | None = None
    action: Action | None = None
    match: Match | None = None
    tag: str | None = Field(None, max_length=64)
    source: str | None = Field(None, max_length=200)

    def filter(self) -> Filter:
        """Return the conditions."""
        return Filter(**self.model_dump(exclude={"limit", "after"}))


class File(BaseModel):
    """What an imported file does not say itself."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200, description="Its ending says its form.")]
    risk: RiskId = Field(description="Of rows that name none.")
    source: Line = ""
    licence: Line = ""
    keep_actions: Reason | None = Field(None, description="Why the file's own actions count; else none does.")
    update: bool = Field(False, description="Entries that are there take the fields that their row states.")


class Removal(BaseModel):
    """Which entries leave the draft."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str, Field(min_length=1, max_length=200, description="Exactly, as it stands in the entries.")]
    dry_run: bool = Field(False, description="Only count them.")
    why: Annotated[Reason | None, Field(validate_default=True, description="For the log; a `dry_run` needs none.")] = (
        None
    )

    @field_validator("why")
    @classmethod
    def _is_said(cls, why: str | None, others: ValidationInfo) -> str | None:
        if why is None and not others.data.get("dry_run"):
            raise PydanticCustomError("missing", MISSING)
        return why


class Changes(BaseModel):
    """Which rows of the draft's log are listed."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[int, Field(ge=0, le=LARGEST_ID, description="The last number of the page before.")] = 0
    entry: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(None, description="An entry's id.")
    by: str | None = Field(None, max_length=200)
    kind: Kind | None = None
    all: bool = Field(False, description="Also, one by one, the entries that a file or a calibration changed.")

    def search(self) -> ChangesSearch:
        """Return the conditions."""
        return ChangesSearch(self.entry, self.by, self.kind, self.all)


NAMES: Mapping[type[Exception], str] = {
    TermTaken: "term",
    UnknownEntry: "id",
    UnknownVersion: "version",
    NotNow: "version",
    TextsInvalid: "texts",
}
"""Which field the library's refusals are about."""


def faults_of(error: Exception) -> Sequence[tuple[str, str]]:
    """Return field and reason of each thing that one of the library's refusals is about; at least one."""
    return error.faults if isinstance(error, EntryInvalid) else ((NAMES[type(error)], str(error)),)
