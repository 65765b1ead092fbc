"""The settings of appeals and complaints, and what a complaint can be about."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOUR_SECONDS = 3_600
DAY_SECONDS = 24 * HOUR_SECONDS
LONGEST_TEXT = 2_000
"""Characters of an appeal or a complaint, and of what staff answer."""
LONGEST_CONTACT = 200
LONGEST_CONTENT_ID = 200
"""Characters of what somebody takes for a content id: a link, or a line of a page."""
MOST_OF_A_KEY = 1_000
"""Appeals, and complaints, that come by one key a day: whoever opens a page anew may be somebody new each time."""

Hours = Annotated[float, Field(gt=0, le=24 * 365)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class Kind(StrEnum):
    """What a complaint says of a content."""

    ILLEGAL = "illegal"
    FALSE = "false"
    INFRINGING = "infringing"
    PRIVACY = "privacy"
    DISCRIMINATION = "discrimination"
    MINORS = "minors"
    OTHER = "other"


class Appeals(BaseModel):
    """Appeals of people who were refused or suspended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    due_hours: Hours = 72
    """Within which staff decide; later ones are counted as overdue."""
    per_day: Count = 5
    """Of one person."""


class Complaints(BaseModel):
    """Complaints about what the gateway answered (生成式人工智能服务管理暂行办法, article 15)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    due_hours: Hours = 72
    """Within which staff answer; later ones are counted as overdue."""
    per_day: Count = 50
    """Of one person with one key, or, where nobody is named, of the key."""
