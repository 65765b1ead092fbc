"""From turns to records: what the relay says of a turn, written to the chain of this process."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.audit.entries import Accepted, Decision, Finished, Found, Judged, Struck, encode
from gateway.audit.record import Outcome, Turn
from gateway.audit.texts import Texts
from policies.strikes import SUSPENDING
from policies.verdict import CLEAN, Evidence, Verdict

KEPT = frozenset({Outcome.REFUSED, Outcome.CUT})
"""Ends of a turn whose texts are kept where only violations are."""


class Chain(Protocol):
    """The writer of this process; see `gateway.audit.writer`."""

    trouble: str | None
    """Why nothing can be written now."""

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest record that is not safe on the disk has waited."""

    def append(self, *bodies: bytes) -> int:
        """Write records; return the number of the last. Raises `AuditUnavailable`."""

    waits: bool
    """Whether a turn goes on only when its record is on the disk."""

    async def durable(self, seq: int) -> None:
        """Return when record *seq* is as safe as the settings ask for. Raises `AuditUnavailable`."""


class Log:
    """Puts each turn on record twice."""

    def __init__(self, chain: Chain, texts: Texts, library: Callable[[], str], policy: str = "") -> None:
        self.chain = chain
        self.texts = texts
        self.library = library
        self.policy = policy

    async def accepted(self, turn: Turn) -> None:
        """Record that a turn has begun. Raises `AuditUnavailable`."""
        seq = self.chain.append(encode(self.beginning(turn)))
        if self.chain.waits:
            await self.chain.durable(seq)
        turn.accepted = True
        turn.recorded = turn.verdict

    async def judged(self, turn: Turn) -> None:
        """Record that the judge has refused. Raises `AuditUnavailable`."""
        record = Judged(
            at=_now(),
            id=turn.id,
            verdict=_decision(turn.verdict),
            person=turn.standing.id,
            counts=turn.counts,
            utterance=turn.utterance.id if turn.counts else "",
        )
        await self.chain.durable(self.chain.append(encode(record)))
        turn.recorded = turn.verdict

    async def finished(self, turn: Turn) -> None:
        """Record how a turn ended. Raises `AuditUnavailable`."""
        seq = self.chain.append(encode(self.end(turn)))
        if self.chain.waits:
            await self.chain.durable(seq)

    def beginning(self, turn: Turn) -> Accepted:
        """Return the first record of a turn."""
        verdict = turn.verdict
        return Accepted(
            at=int(turn.started * 1000),
            id=turn.id,
            route=turn.route,
            key=turn.caller.key_id,
            tenant=turn.caller.tenant,
            person=turn.standing.id,
            user=turn.user,
            address=turn.address,
            model=turn.model,
            replica=turn.replica,
            stream=turn.stream,
            library=self.library(),
            policy=self.policy,
            words=self.texts.of(turn.utterance.text, violation=verdict.refused),
            verdict=None if verdict is CLEAN or verdict == CLEAN else _decision(verdict),
            counts=turn.counts,
            utterance=turn.utterance.id if turn.counts else "",
        )

    def end(self, turn: Turn) -> Finished:
        """Return the last record of a turn."""
        kept = turn.outcome in KEPT
        late = kept and not turn.recorded.refused
        return Finished(
            at=_now(),
            id=turn.id,
            outcome=turn.outcome.value,
            status=turn.status,
            finish_reason=turn.finish_reason,
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            first_token_ms=_milliseconds(turn.first_token_seconds),
            total_ms=_milliseconds(turn.seconds),
            verdict=None if turn.verdict is turn.recorded else _decision(turn.verdict),
            observed=_found(turn.observed) if turn.observed else (),
            strike=turn.strike,
            struck=_struck(turn),
            words=self.texts.of(turn.utterance.text, violation=True) if late else None,
            answer=self.texts.of(turn.answer, violation=kept),
        )


def _struck(turn: Turn) -> Struck | None:
    if turn.strike is None or turn.strike.event not in SUSPENDING:
        return None
    return Struck(turn.standing.id, turn.caller.tenant, turn.user)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _found(evidence: Sequence[Evidence]) -> tuple[Found, ...]:
    return tuple(Found(one.stage, one.what, one.start, one.end) for one in evidence)


def _decision(verdict: Verdict) -> Decision:
    return Decision(verdict.action.value, verdict.risk, _found(verdict.evidence))
