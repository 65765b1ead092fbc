"""What can be asked of the audit log by REST."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.audit import grams
from gateway.audit.export import Format
from gateway.audit.record import Outcome
from gateway.audit.search import UNFINISHED, EventFilter, Filter, Place, Search
from gateway.audit.writer import SHANGHAI
from gateway.keyword_fields import LARGEST_ID, RiskId

LARGEST_MS = 10**15
IdsOf = Callable[[str], Awaitable[Sequence[str]]]
"""Finds all ids under which a person is on record."""


def _milliseconds(value: object) -> int:
    """Return Unix milliseconds; a time without a zone is Shanghai's."""
    text = str(value)
    if re.fullmatch(r"\d{1,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text))  # a `+` in a query is a blank
    except ValueError:
        raise PydanticCustomError("moment", "must be ISO 8601, or Unix milliseconds") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=SHANGHAI)
    return int(moment.timestamp() * 1000)


def _place(text: str) -> Place:
    found = re.fullmatch(r"(-?\d{1,16})-(\d{1,18})", text)
    if found is None:
        raise PydanticCustomError("place", "must be the `next` of the page before")
    return Place(int(found[1]), int(found[2]))


def _outcome(text: str) -> str:
    known = [*(outcome.value for outcome in Outcome), UNFINISHED]
    if text not in known:
        raise PydanticCustomError("outcome", "must be one of {known}", {"known": ", ".join(known)})
    return text


def _long_enough(text: str) -> str:
    if len(grams.fold(text)) < grams.SHORTEST:
        raise PydanticCustomError("short", "must have two characters at least: the index knows no single ones")
    return text


Moment = Annotated[int, BeforeValidator(_milliseconds, json_schema_input_type=str), Field(le=LARGEST_MS)]
Name = Annotated[str, Field(min_length=1, max_length=512)]
After = Annotated[Any, BeforeValidator(lambda value: None if value is None else _place(str(value)), str)]
Limit = Annotated[int, Field(ge=1, le=1000)]


class Strict(BaseModel):
    """A query without unknown fields."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    since: Moment | None = Field(None, alias="from", description="ISO 8601, or Unix milliseconds.")
    until: Moment | None = Field(None, alias="to", description="The first moment that is not meant any more.")


class TurnQuery(Strict):
    """Which turns."""

    person: Name | None = Field(None, description="Id of the person.")
    user: Name | None = Field(None, description="The person's name as the client sent it.")
    key: Name | None = Field(None, description="Id of the key, its name, or `tenant/name`.")
    model: Name | None = None
    verdict: Literal["pass", "judge", "refuse"] | None = None
    outcome: Annotated[str, AfterValidator(_outcome)] | None = None
    entry: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(None, description="Id of a keyword entry.")
    risk: RiskId | None = None
    text: Annotated[str, Field(max_length=grams.LONGEST_QUERY), AfterValidator(_long_enough)] | None = Field(
        None, description="Part of the words or of the answer, where they are kept; this goes on record."
    )
    mark: Literal["upheld"] | None = None
    texts: bool = Field(default=False, description="Show the texts that are kept; this goes on record.")

    async def wanted(self, search: Search) -> Filter:
        """Return it as *search* takes it. Raises `UnknownName` of a key, and `SearchTooLong`."""
        given = self.model_dump(exclude={"person", "key", "texts", "limit", "after", "form"})
        keys = None if self.key is None else await search.keys(self.key)
        return Filter(people=None if self.person is None else (self.person,), keys=keys, **given)

    def asked(self) -> dict[str, Any]:
        """Return what was asked for, as it goes on record."""
        return self.model_dump(mode="json", exclude_none=True, by_alias=True, exclude={"after"})

    @property
    def reads(self) -> bool:
        """Whether it tells what people wrote: a text that is found is read."""
        return self.texts or self.text is not None


class PageQuery(TurnQuery):
    """A page of turns, the newest first."""

    limit: Limit = 100
    after: After = Field(None, description="The `next` of the page before.")


class ExportQuery(TurnQuery):
    """A file of turns."""

    form: Format = Field("jsonl", alias="format")
    limit: Annotated[int, Field(ge=1, le=LARGEST_ID)] | None = Field(None, description="The newest so many; none: all.")


class EventQuery(Strict):
    """A page of events, the newest first."""

    kind: Literal["admin", "person", "applied"] | None = None
    id: Name | None = Field(None, description="Id of the record: what was done has two of one id.")
    by: Name | None = Field(None, description="Name of the admin.")
    role: Name | None = None
    address: Name | None = Field(None, description="Whence the admin came.")
    action: Name | None = None
    target: Name | None = Field(None, description="What was changed or read: the id of a person, a key, a turn …")
    person: Name | None = Field(None, description="Id of the person, under all of their names.")
    outcome: Literal["ok", "failed", "denied", "unfinished"] | None = None
    status: Annotated[int, Field(ge=100, le=999)] | None = Field(None, description="HTTP status of the answer.")
    limit: Limit = 100
    after: Annotated[int, Field(ge=0, le=2**53)] | None = None

    async def wanted(self, ids_of: IdsOf) -> EventFilter:
        """Return it as the search takes it."""
        people = None if self.person is None else await ids_of(self.person)
        return EventFilter(people=people, **self.model_dump(exclude={"person", "limit", "after"}))


class PastQuery(BaseModel):
    """A page of what happened to a person, the newest first."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    after: After = Field(None, description="The `next` of the page before.")


class HistoryQuery(PastQuery):
    """A page of what a person said, the newest first."""

    texts: bool = Field(default=False, description="Show the texts that are kept; this goes on record.")
