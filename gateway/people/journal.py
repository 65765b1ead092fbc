"""What is done about people, as the log has it: before it is done, and when it is."""

import logging
import time
from typing import Any

from gateway.audit.entries import Applied, Person, Strike, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import Chain
from gateway.audit.record import new_id
from gateway.people.errors import MeasureRefused
from gateway.reasons import LONGEST_REASON, says_something
from policies.strikes import IN_A_ROW, SUSPENDED_DAY, SUSPENDED_ROW, State

log = logging.getLogger(__name__)


FOUND = "suspended"
"""Kind of the record of a suspension by the rule that no turn has on record."""


class Journal:
    """Writes of each measure two records."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    async def begin(self, *measures: Person) -> None:
        """Put on record what is about to be done. Raises `AuditUnavailable`: then it is not."""
        await self.chain.durable(self.chain.append(*(encode(measure) for measure in measures)))

    async def done(self, *measures: Person, strike: Strike | None = None) -> None:
        """Put on record that it is done, *strike*: with what came of it.

        It is done whether or not that can be written: of a standing the rebuild sees to what has no end on record.
        """
        at = now_ms()
        ends = [
            Applied(at=at, id=one.id, person=one.person, strike=strike or Strike(at, 0, one.kind)) for one in measures
        ]
        try:
            await self.chain.durable(self.chain.append(*(encode(end) for end in ends)))
        except AuditUnavailable as error:
            log.warning("that %d measures are carried out cannot be put on record: %s", len(ends), error)


def suspension(person: str, state: State) -> Person:
    """Return the record of a suspension that only a replay of the log has found.

    Its moment is that of the violation that suspended, and its id the same whenever it is found.
    """
    event = SUSPENDED_ROW if state.why == IN_A_ROW else SUSPENDED_DAY
    strike = Strike(at=state.last, event=event, after=state)
    return Person(at=now_ms(), id=f"{person}-{state.last}", person=person, kind=FOUND, until=state.until, strike=strike)


def measure(kind: str, person: str, reason: str, by: str, **more: Any) -> Person:
    """Return the record of what is about to be done to a person now. Raises `MeasureRefused` naming ``reason``."""
    if not says_something(reason) or len(reason) > LONGEST_REASON or "\0" in reason:
        text = f"must say why, in at most {LONGEST_REASON} characters, for those who read the log"
        raise MeasureRefused("reason", text, conflict=False)
    at = now_ms()
    return Person(at=at, person=person, kind=kind, reason=reason, by=by, strike=Strike(at), **{"id": new_id(), **more})


def now_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
