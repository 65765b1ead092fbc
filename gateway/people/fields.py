"""What can be asked about people: one set of rules for REST and for the shell."""

import time
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.key_fields import LATEST, Name
from gateway.keys import DEFAULT_TENANT
from gateway.people.errors import MeasureRefused
from gateway.people.roster import Condition, Wanted
from gateway.reasons import Reason, storable
from policies.strikes import DAY_MS, UNTIL_LIFTED

NOBODY = frozenset({"", "unknown"})
"""Names by which a client names nobody; see `gateway.relay.identity`."""
LONGEST_USER = 512
MOST_HOURS = 24 * 3_650


def _somebody(name: str) -> str:
    if name in NOBODY:
        raise PydanticCustomError("nobody", "names nobody")
    return name


User = Annotated[str, Field(max_length=LONGEST_USER), AfterValidator(_somebody)]
Hours = Annotated[float, Field(gt=0, le=MOST_HOURS)]
Until = Annotated[int, Field(ge=0, le=LATEST - DAY_MS // 1_000, description="Unix time.")]
"""A day less than the last one of the calendar: people read it as the time of their own place."""
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")]


class Because(BaseModel):
    """Why something is done."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class Placement(Because):
    """How long a ban or an exemption holds; without `hours` and `until`: until somebody ends it."""

    hours: Hours | None = None
    until: Until | None = None

    def end(self) -> int | None:
        """Return when it ends, in Unix seconds; None: when somebody ends it. Raises `MeasureRefused`."""
        if self.hours is not None and self.until is not None:
            raise MeasureRefused("until", "comes with `hours`: say one of them", conflict=False)
        return int(time.time() + self.hours * 3_600) if self.hours is not None else self.until


class Suspension(Placement):
    """How long a suspension lasts: one of the three."""

    until_lifted: bool = False

    def end_ms(self) -> int:
        """Return when it ends, in Unix milliseconds, or `UNTIL_LIFTED`. Raises `MeasureRefused`."""
        end = self.end()
        if self.until_lifted == (end is not None):
            raise MeasureRefused("hours", "say one of `hours`, `until` and `until_lifted`", conflict=False)
        return UNTIL_LIFTED if end is None else end * 1_000


class Named(BaseModel):
    """Somebody by the name that a tenant's clients use."""

    model_config = ConfigDict(extra="forbid")

    tenant: Name = DEFAULT_TENANT
    user: User


class NewAlias(Named, Because):
    """Another name of somebody."""

    alias: User


class Which(BaseModel):
    """Which people are meant."""

    model_config = ConfigDict(extra="forbid")

    q: (
        Annotated[
            str,
            Field(min_length=1, max_length=LONGEST_USER, description="Part of the name."),
            AfterValidator(storable),
        ]
        | None
    ) = None
    tenant: Name | None = None
    state: Condition | None = None

    def wanted(self) -> Wanted:
        """Return the conditions."""
        return Wanted(self.q, self.tenant, self.state)


class WhichTable(Which):
    """Which people, as a table."""

    format: Literal["csv"] = "csv"


class Search(Which):
    """Which people are listed."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    after: Annotated[Id, Field(description="The last id of the page before.")] = ""
