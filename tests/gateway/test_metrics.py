"""Numbers of engines that lie."""

import asyncio
import time

import msgspec
import pytest

from gateway import services as parts
from gateway.audit.entries import Strike
from gateway.audit.record import Turn
from gateway.keys import NOBODY
from gateway.metrics import MOST_TOKENS, Metrics
from gateway.tasks import ended
from tests.gateway.conftest import Running, eventually


def turn(prompt: int, completion: int) -> Turn:
    found = Turn(NOBODY, "chat", 0.0)
    found.model, found.replica = "m", "m#0"
    found.prompt_tokens, found.completion_tokens = prompt, completion
    return found


def tokens(metrics: Metrics) -> tuple[float | None, float | None]:
    labels = {"model": "m", "replica": "m#0"}
    names = ("gateway_prompt_tokens_total", "gateway_completion_tokens_total")
    first, second = (metrics.registry.get_sample_value(name, labels) for name in names)
    return first, second


def test_numbers_without_sense_count_as_none_or_many() -> None:
    """A counter takes nothing negative, and a float no 400 digits."""
    metrics = Metrics()
    metrics.turn(turn(-5, 10**400))
    metrics.flush(1.0, {})
    assert (0, MOST_TOKENS) == tokens(metrics)
    metrics.turn(turn(7, 1))
    metrics.flush(2.0, {})
    assert (7, MOST_TOKENS + 1) == tokens(metrics)
    assert metrics.render()


def test_what_cannot_be_moved_does_not_come_again() -> None:
    """A number that prometheus_client refuses is lost once, and the rest goes on."""
    metrics = Metrics()
    metrics.replica("m", "m#0").prompt_tokens = -5
    with pytest.raises(ValueError, match="non-negative"):
        metrics.flush(1.0, {})
    metrics.turn(turn(7, 1))
    metrics.flush(2.0, {})
    assert (7, 1) == tokens(metrics)


def test_who_names_people_is_counted_by_key() -> None:
    """Of chats and completions that reached a model; nobody is expected to be named elsewhere."""
    metrics = Metrics()
    caller = msgspec.structs.replace(NOBODY, key_id="k", name="dify", tenant="acme")
    for route, model, user in (
        ("chat", "m", "ann"),
        ("completion", "m", ""),
        ("chat", "m", "bob"),
        ("chat", "", ""),
        ("embeddings", "m", ""),
    ):
        found = Turn(caller, route, 0.0)
        found.model, found.user = model, user
        metrics.turn(found)
    metrics.flush(1.0, {})
    metrics.flush(2.0, {})
    name = "gateway_identified_turns_total"
    counts = [metrics.registry.get_sample_value(name, {"key": "acme/dify", "identified": i}) for i in ("yes", "no")]
    assert counts == [2, 1]


def test_what_counting_did_is_counted() -> None:
    """By event; what did nothing is not."""
    metrics = Metrics()
    for event in ("struck", "suspended_consecutive", "struck", ""):
        found = turn(0, 0)
        found.strike = Strike(at=1, event=event)
        metrics.turn(found)
    metrics.turn(turn(0, 0))
    metrics.flush(1.0, {})
    name = "gateway_strike_events_total"
    counts = [metrics.registry.get_sample_value(name, {"event": e}) for e in ("struck", "suspended_consecutive", "")]
    assert counts == [2, 1, None]


async def test_the_flush_goes_on_whatever_comes(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad second does not end the metrics."""
    monkeypatch.setattr(parts, "FLUSH_SECONDS", 0.01)
    calls: list[float] = []

    def broken(now: float, in_flight: dict[str, int]) -> None:
        del in_flight
        calls.append(now)
        raise ValueError("no")

    monkeypatch.setattr(gateway.services.metrics, "flush", broken)
    task = asyncio.create_task(gateway.services.flush_for_ever())
    await eventually(lambda: len(calls) > 2)
    assert calls[0] <= time.monotonic()
    await ended([task])
