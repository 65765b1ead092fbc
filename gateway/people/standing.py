"""The port to a person's standing."""

from typing import Protocol

from gateway.relay.identity import Person
from policies.strikes import GOOD, Standing
from policies.verdict import Verdict


class Standings(Protocol):
    """Keeps the standing of each person; None, where nobody is named, is always in good standing."""

    async def check(self, person: Person | None, now: float) -> Standing:
        """Return the standing at *now* (Unix seconds)."""

    async def record(self, person: Person | None, utterance_id: str, verdict: Verdict) -> Standing:
        """Count *verdict* on an utterance; the same utterance within a short time counts once."""


class AllGood:
    """Everybody is in good standing: stands here until strikes are counted."""

    async def check(self, person: Person | None, now: float) -> Standing:
        del person, now
        return GOOD

    async def record(self, person: Person | None, utterance_id: str, verdict: Verdict) -> Standing:
        del person, utterance_id, verdict
        return GOOD
