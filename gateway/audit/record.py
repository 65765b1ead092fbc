"""What is on record of a turn, and the port through which it is written."""

import secrets
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.audit.entries import Strike
from gateway.keys import Caller
from gateway.limits.allowance import Allowance
from gateway.people.standing import NOBODY, Standing
from policies.utterance import NOTHING_SAID, Utterance
from policies.verdict import CLEAN, Evidence, Verdict

VIOLATION, CLEAN_WORDS = "violation", "clean"
"""What the strike rule is told of an utterance."""


class Outcome(StrEnum):
    """How a turn ended; a label of the metrics."""

    OK = "ok"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    CUT = "cut"
    CLIENT_GONE = "client_gone"
    CLIENT_ERROR = "client_error"
    REJECTED = "rejected"
    """No replica was ready, or all were full, or a rate limit was reached."""
    ENGINE_ERROR = "engine_error"
    GATEWAY_ERROR = "gateway_error"


class _Ids:
    """Hands out random ids; the system is asked for many at once, since each asking is a system call."""

    BYTES = 12

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        """Return a new content id: 96 random bits, so that it cannot be guessed."""
        if not self._left:
            block = secrets.token_hex(self.BYTES * 256)
            width = self.BYTES * 2
            self._left = [block[i : i + width] for i in range(0, len(block), width)]
        return self._left.pop()


new_id = _Ids()


@dataclass(slots=True)
class Turn:
    """One request and its answer. *started* is Unix time; None: it did not come to that."""

    caller: Caller
    route: str
    started: float
    began: float = field(default_factory=time.perf_counter)
    """The same moment on the monotonic clock, for durations."""
    id: str = field(default_factory=new_id)
    """The content id: header ``X-Content-Id`` and audit row."""
    address: str = ""
    """Of the client, or of the proxy that it came by."""
    user: str = ""
    """The person as the client calls them; empty: nobody is named."""
    standing: Standing = NOBODY
    """Of the person, as the turn began."""
    utterance: Utterance = NOTHING_SAID
    counts: str = ""
    """`VIOLATION` or `CLEAN_WORDS`, where the strike rule is told of the utterance."""
    strike: Strike | None = None
    """What came of that."""
    allowance: Allowance | None = None
    """What its rate limits allowed it; None: there were none."""
    answer: str = ""
    """What the person was sent of the answer; of several choices, one after the other."""
    finish_reason: str = ""
    """Why the answer ended, as the client reads it; of choices that ended in different ways each, behind a comma."""
    model: str = ""
    """Public model name; empty while it is not known to exist."""
    asked_model: str = ""
    replica: str = ""
    stream: bool = False
    verdict: Verdict = CLEAN
    observed: list[Evidence] = field(default_factory=list)
    """What was found beside the newest words, in the surroundings and in the answer."""
    outcome: Outcome = Outcome.OK
    status: int = 200
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_seconds: float | None = None
    seconds: float | None = None
    added_seconds: float = 0.0
    """Spent in the gateway itself, the engine's time and that in the queue excluded."""
    queued_seconds: float = 0.0
    """Until a replica had room."""
    moved: int = 0
    """Times that it was sent to another replica, since its own had failed before the first byte."""
    accepted: bool = False
    """Whether the first of the two records is written."""
    recorded: Verdict = CLEAN
    """The verdict that is on record so far."""


class Audit(Protocol):
    """Two records a turn; each call returns when its record is written, and raises when it cannot be."""

    async def accepted(self, turn: Turn) -> None:
        """Record that a turn has begun; before the first byte to the client, pings included."""

    async def judged(self, turn: Turn) -> None:
        """Record that the judge has refused an utterance, before it is counted."""

    async def finished(self, turn: Turn) -> None:
        """Record how a turn ended; before ``[DONE]`` or the last byte of a whole answer."""


class Unrecorded:
    """Writes nothing: where the log is switched off, to measure what it costs."""

    async def accepted(self, turn: Turn) -> None:
        turn.accepted = True

    async def judged(self, turn: Turn) -> None:
        del turn

    async def finished(self, turn: Turn) -> None:
        del turn
