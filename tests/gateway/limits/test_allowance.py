"""What a client is told of its rate limits."""

import pytest

from gateway.limits.allowance import KEY, PERSON, REQUESTS, STREAMS, TOKENS, Allowance, Bounded, Limited
from policies.rates import Charge, Grant, Span

NOON = 1_764_000_000_000


def allowance(*bounds: tuple[str, str, int], used: tuple[int, ...], refused: int = -1, wait: int = 0) -> Allowance:
    made = tuple(Bounded(whose, what, Charge(f"{whose}{what}", limit)) for whose, what, limit in bounds)
    return Allowance(made, Grant(NOON + 640, refused, wait, used), Span())


def test_headers_are_openais() -> None:
    """Of key and person, the one with less left; the time as OpenAI writes it."""
    found = allowance(
        (KEY, REQUESTS, 600), (PERSON, REQUESTS, 20), (KEY, TOKENS, 100_000), (PERSON, STREAMS, 2), used=(590, 1, 0, 1)
    )
    assert found.headers() == [
        (b"x-ratelimit-limit-requests", b"600"),
        (b"x-ratelimit-remaining-requests", b"10"),
        (b"x-ratelimit-reset-requests", b"1m0.36s"),
        (b"x-ratelimit-limit-tokens", b"100000"),
        (b"x-ratelimit-remaining-tokens", b"100000"),
        (b"x-ratelimit-reset-tokens", b"0s"),
    ]


@pytest.mark.parametrize(
    ("whose", "what", "wait", "words", "kind", "seconds"),
    [
        (PERSON, REQUESTS, 12_001, "您的提问过于频繁，请 13 秒后再试。", "requests", 13),
        (PERSON, TOKENS, 1, "您的提问过于频繁，请 1 秒后再试。", "tokens", 1),
        (PERSON, STREAMS, 0, "您同时进行的回答过多，请 5 秒后再试。", "rate_limit_error", 5),
        (KEY, REQUESTS, 59_000, "当前使用的人较多，请 59 秒后再试。", "requests", 59),
        (KEY, STREAMS, 0, "当前使用的人较多，请 5 秒后再试。", "rate_limit_error", 5),
    ],
)
def test_who_has_to_wait_is_told_in_short_words(
    whose: str, what: str, wait: int, words: str, kind: str, seconds: int
) -> None:
    """A person hears of their own haste alone: what others used of the key is not theirs."""
    found = allowance((whose, what, 3), used=(3,), refused=0, wait=wait)
    lacking = found.lacking
    assert lacking is not None
    problem = Limited(found, lacking)
    assert (429, kind, "rate_limit_exceeded", seconds) == (
        problem.status,
        problem.kind,
        problem.code,
        problem.retry_after,
    )
    assert problem.message.startswith(words) and len(problem.message) < 160
