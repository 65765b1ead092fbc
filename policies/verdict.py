"""What a stage of the policy says of a text."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What follows from a verdict."""

    PASS = "pass"  # noqa: S105 - an action, no password
    JUDGE = "judge"
    """Still open: the model-based judge decides."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why: the stage that spoke, the entry or score it saw, and where in the text (character offsets)."""

    stage: str
    what: str
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action with its reasons. *risk* is an id of `keywords.risks`, None where nothing was found."""

    action: Action
    risk: str | None = None
    evidence: tuple[Evidence, ...] = ()
    refusing: frozenset[str] = frozenset()
    """Every risk for which the text is refused."""
    noticed: frozenset[str] = frozenset()
    """Every risk that was found, these among them."""

    @property
    def refused(self) -> bool:
        """Whether the text must not be answered."""
        return self.action is Action.REFUSE

    @property
    def open(self) -> bool:
        """Whether the judge has to be asked."""
        return self.action is Action.JUDGE


CLEAN = Verdict(Action.PASS)
