"""What a turn goes through and whom it answers: the collaborators, as types."""

from dataclasses import dataclass, field
from typing import Protocol

from backends.pool import Pool
from gateway.audit.record import CLEAN_WORDS, Audit, Outcome, Turn
from gateway.labels import Labels
from gateway.limits.limiter import Limiter
from gateway.metrics import Metrics
from gateway.people.rules import Strikes
from gateway.people.standing import Standings
from gateway.settings import Limits, Queue, Timeouts
from policies.answer_judge import AnswerJudge, Unjudged
from policies.input_policy import InputPolicy
from policies.stream_guard import Guards


class Reply(Protocol):
    """The client's side of a turn, whatever front it came in by."""

    started: bool

    @property
    def blocked(self) -> bool:
        """Whether the client has to catch up; see `drained`."""

    def start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None = None) -> None:
        """Set status and headers; they leave with the first bytes of the body. No *length*: it is not known yet."""

    def write(self, data: bytes, chunk: bytes = b"") -> None:
        """Send part of a body; *chunk*, where not empty, is the same bytes as an HTTP chunk."""

    async def drained(self) -> None:
        """Return when the client reads again: at once while it does, and when it has gone."""

    def finish(self, data: bytes = b"") -> None:
        """Send the last part of a body and end the answer; from here on the client may leave unnoticed."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Made once for all turns of a worker; *guard* makes the guard of one turn."""

    standings: Standings
    policy: InputPolicy
    guard: Guards
    audit: Audit
    pool: Pool
    metrics: Metrics
    limiter: Limiter
    limits: Limits
    timeouts: Timeouts
    labels: Labels = field(default_factory=Labels)
    answer_judge: AnswerJudge = field(default_factory=Unjudged)
    strikes: Strikes = field(default_factory=Strikes)
    queue: Queue = field(default_factory=Queue)

    async def finished(self, turn: Turn) -> None:
        """Put the end of a turn on record, before its last byte leaves; a clean utterance counts with it.

        An answer that was cut is neither a strike nor clean: nobody can tell whose fault it was.
        """
        self.limiter.settle(turn)  # before its last byte: what the client asks next may have its place
        if turn.counts == CLEAN_WORDS and turn.outcome is not Outcome.CUT:
            turn.strike = await self.standings.count(turn.standing, turn.utterance.id, turn.id, violation=False)
        await self.audit.finished(turn)
