"""The settings of strikes and suspensions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from policies.strikes import DAY_MS, UNTIL_LIFTED, Rule
from policies.verdict import Verdict

Count = Annotated[int, Field(ge=1, le=1_000)]
Hours = Annotated[float, Field(gt=0, le=24 * 3_650)]
HOUR_MS = 3_600_000
Stage = Literal["keywords", "judge", "classifier"]


class Strikes(BaseModel):
    """When a person is suspended, for how long, and what they read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Whether violations are counted; off, they are refused all the same."""
    consecutive: Count = 3
    """Violations in a row that suspend."""
    daily: Count = 5
    """Violations on one day that suspend."""
    utc_offset_hours: Annotated[float, Field(ge=-12, le=14)] = 8
    """When a day begins; 8 is Asia/Shanghai."""
    suspension_hours: Annotated[tuple[Hours | Literal["until_lifted"], ...], Field(min_length=1)] = (
        24.0,
        168.0,
        "until_lifted",
    )
    """How long the first, second … suspension lasts; the last one stands for all that follow."""
    decay_days: Annotated[float, Field(gt=0, le=365)] = 30
    """Days without a violation after which the next suspension is a first one again."""
    same_utterance_seconds: Annotated[float, Field(ge=0, le=60)] = 10
    """The same words of a person within so long are one utterance, however often they come; at most 60 s in all."""
    stages: tuple[Stage, ...] = ("keywords", "judge", "classifier")
    """Whose refusals count as a violation."""
    state_away: Literal["open", "closed"] = "open"
    """With the state server away: `open` answers all but those who are known to be suspended and counts later,
    `closed` answers nobody whose standing cannot be read."""
    suspended_status: Literal[200, 400, 403, 429] = 200
    """How a suspended person is told so: 200 as an ordinary answer, else as an error of this status."""
    contact: Annotated[str, Field(min_length=1, max_length=200)] = "请联系管理员申诉"
    """Where a suspended person can complain; the end of the sentence that they read."""

    def rule(self) -> Rule:
        """Return the numbers of the strike rule."""
        return Rule(
            consecutive=self.consecutive,
            daily=self.daily,
            suspensions_ms=tuple(
                UNTIL_LIFTED if hours == "until_lifted" else int(hours * HOUR_MS) for hours in self.suspension_hours
            ),
            decay_ms=int(self.decay_days * DAY_MS),
            same_ms=int(self.same_utterance_seconds * 1_000),
            utc_offset_ms=int(self.utc_offset_hours * HOUR_MS),
        )

    def counts(self, verdict: Verdict) -> bool:
        """Return whether a refusal by this verdict is a violation."""
        return any(found.stage.partition(".")[0] in self.stages for found in verdict.evidence)
