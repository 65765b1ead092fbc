"""What staff decide: one set of rules for REST and for the shell."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.complaints.rules import LONGEST_TEXT
from gateway.keyword_fields import RiskId
from gateway.reasons import Reason

Told = Annotated[Reason, Field(max_length=LONGEST_TEXT)]
Decision = Literal["founded", "unfounded"]


class Uphold(BaseModel):
    """Why an appeal is granted; whoever appealed reads it."""

    model_config = ConfigDict(extra="forbid")

    reason: Told


class Reject(Uphold):
    """Why an appeal is refused; whoever appealed reads it."""

    risk: RiskId | None = Field(None, description="What the words are: they become a harmful label.")


class Answer(BaseModel):
    """What staff say to a complaint; whoever complained reads the answer."""

    model_config = ConfigDict(extra="forbid")

    answer: Told
    decision: Decision
    risk: RiskId | None = Field(None, description="What a founded one is about: the content becomes a harmful label.")
