"""What a turn was allowed by its rate limits, and what its client is told of it."""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from gateway.problems import Problem
from policies import refusals
from policies.rates import Charge, Grant, Span

KEY, PERSON = "key", "person"
"""Whose limit it is."""
REQUESTS, TOKENS, STREAMS = "requests", "tokens", "streams"
"""What is limited."""
IN_WORDS = {REQUESTS: "requests per minute", TOKENS: "tokens per minute", STREAMS: "streams at once"}
STREAM_SECONDS = 5
"""After which somebody is told to come again whose streams are all still running; nobody knows when one ends."""
_TOLD = (REQUESTS, TOKENS)


class Bounded(NamedTuple):
    """One limit of a turn."""

    whose: str
    what: str
    charge: Charge


@dataclass(slots=True)
class Allowance:
    """What was taken for a turn, or what it lacked."""

    bounds: tuple[Bounded, ...]
    grant: Grant
    span: Span
    shared: bool = True
    """Whether Redis counted; else this worker did alone."""
    settled: bool = False

    @property
    def lacking(self) -> Bounded | None:
        """The limit that is reached; None: the turn may go on."""
        return self.bounds[self.grant.refused] if self.grant.refused >= 0 else None

    def retry_after(self) -> int:
        """Return after how many seconds to come again."""
        if (lacking := self.lacking) is None or lacking.what == STREAMS:
            return STREAM_SECONDS
        return max(1, ceil(self.grant.wait / 1000))

    def words(self) -> str:
        """Return what the person is told who has to wait; only of limits of their own are they told so."""
        lacking, seconds = self.lacking, self.retry_after()
        if lacking is None or lacking.whose == KEY:
            return refusals.busy(seconds)
        return refusals.several(seconds) if lacking.what == STREAMS else refusals.frequent(seconds)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return OpenAI's headers (Rate limits, "Rate limits in headers"), each of the limit with the least left."""
        found = []
        whole = (self.grant.at // self.span.step + 1) * self.span.step + self.span.window - self.grant.at
        for what in _TOLD:
            left = [
                (max(0, one.charge.limit - used), one.charge.limit)
                for one, used in zip(self.bounds, self.grant.used, strict=True)
                if one.what == what
            ]
            if left:
                remaining, limit = min(left)
                found += [
                    (b"x-ratelimit-limit-%b" % what.encode(), b"%d" % limit),
                    (b"x-ratelimit-remaining-%b" % what.encode(), b"%d" % remaining),
                    (b"x-ratelimit-reset-%b" % what.encode(), _duration(whole if remaining < limit else 0)),
                ]
        return found


class Limited(Problem):
    """A rate limit is reached: a 429 as OpenAI says it, in words that Dify may show to the person."""

    def __init__(self, allowance: Allowance, lacking: Bounded) -> None:
        seconds = allowance.retry_after()
        text = f"Rate limit reached for this {lacking.whose} on {IN_WORDS[lacking.what]}: limit {lacking.charge.limit}."
        kind = "rate_limit_error" if lacking.what == STREAMS else lacking.what  # OpenAI limits no streams
        super().__init__(429, f"{allowance.words()}{text}", kind=kind, code="rate_limit_exceeded", retry_after=seconds)
        self.allowance = allowance


def _duration(milliseconds: int) -> bytes:
    """Return a time as OpenAI writes it: ``8.64s``, ``1m0.5s``."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{f'{minutes}m' if minutes else ''}{rest / 1000:g}s".encode()
