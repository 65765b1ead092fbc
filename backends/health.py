"""Whether an engine is dead that still says it is well. Pure: moments are arguments.

Tokens are outstanding and none has come for long: the engine is suspected, and asked for one token itself. A long
prompt, or a full queue, is slow and lets the canary through, or ends meanwhile; a dead one does neither.
"""

CANARY_SECONDS = 60.0
"""At most, for the one token: vLLM takes it beside what runs, llama.cpp when a slot is free."""


class StallDetector:
    """One engine's. *seconds* of silence make it suspect; 0: never."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._cleared_at: float | None = None

    @property
    def patience(self) -> float:
        """Seconds for the canary: as long as the silence before it, and at most `CANARY_SECONDS`."""
        return min(self.seconds, CANARY_SECONDS)

    def suspects(self, silent: float | None, now: float) -> bool:
        """Return whether to ask for a token, or, when one did not come, to take the engine for dead.

        *silent*: seconds for which requests have waited and nothing has come; None: nobody waits. An engine that has
        answered a canary is left alone for as long again.
        """
        if not self.seconds or silent is None or silent < self.seconds:
            return False
        return self._cleared_at is None or now - self._cleared_at >= self.seconds

    def cleared(self, now: float) -> None:
        """Take that the canary was answered."""
        self._cleared_at = now
