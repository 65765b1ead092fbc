"""The standing of a person. The rule that changes it comes with its store; here is what a turn needs to know."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """Strikes in a row and today, and until when (Unix seconds) the person is suspended; None: not at all."""

    consecutive: int = 0
    today: int = 0
    suspended_until: float | None = None

    def suspended(self, now: float) -> bool:
        """Return whether the person may not be answered at *now*."""
        return self.suspended_until is not None and now < self.suspended_until


GOOD = Standing()
