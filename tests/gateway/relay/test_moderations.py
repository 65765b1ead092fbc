"""OpenAI's moderation form, answered by the library."""

import base64
import json
from typing import Any

import pytest

from gateway import app
from gateway.audit.record import Turn, Unrecorded
from gateway.problems import Problem
from gateway.relay import moderations
from keywords.entry import Action, Entry
from keywords.library import Library
from keywords.risks import RISKS
from tests.gateway.conftest import Running

LIBRARY = Library.build(
    [
        Entry(id=1, term="禁忌配方", risk="A1d", action=Action.BLOCK),
        Entry(id=2, term="敏感话题", risk="A1g", action=Action.JUDGE),
        Entry(id=3, term="违禁武器", risk="A2a", action=Action.BLOCK),
    ]
)


async def ask(gateway: Running, body: Any, **options: Any) -> Any:
    gateway.services.shelf.use(LIBRARY)
    async with gateway.client(**options) as client:
        return await client.post("/v1/moderations", json=body)


async def test_texts_are_flagged(gateway: Running) -> None:
    """Each text has its result: what blocks is flagged with its risk, what only asks for a judge is not."""
    body = {
        "model": "omni-moderation-latest",
        "input": ["说说禁 忌 配 方", "敏感话题", {"type": "text", "text": "你好"}],
    }
    results = (await ask(gateway, body)).json()["results"]
    assert [True, False, False] == [result["flagged"] for result in results]
    assert ["A1d"] == [risk for risk, is_so in results[0]["categories"].items() if is_so]
    assert [1.0, 0.5, 0.0] == [max(result["category_scores"].values()) for result in results]
    assert set(RISKS) == set(results[2]["categories"])


async def test_every_risk_of_a_text_is_told(gateway: Running) -> None:
    """Also those behind the first that refuses, in a text of several slices, and within its payloads."""
    hidden = base64.b64encode("说说违禁武器".encode()).decode()
    for between in ("，", "好" * 15_000):
        text = f"敏感话题{between}禁忌配方{between}{hidden}"
        result = (await ask(gateway, {"input": text})).json()["results"][0]
        assert result["flagged"]
        assert ["A1d", "A2a"] == [risk for risk, is_so in result["categories"].items() if is_so]
        assert {"A1d": 1.0, "A1g": 0.5, "A2a": 1.0} == {r: n for r, n in result["category_scores"].items() if n}
        assert {"A1d", "A1g", "A2a"} == {r for r, types in result["category_applied_input_types"].items() if types}


async def test_its_turns_are_counted_and_named(gateway: Running) -> None:
    """An answer and an error each have a content id, and stand in the metrics."""
    answered, refused = await ask(gateway, {"input": "a"}), await ask(gateway, {"input": 1})
    assert answered.json()["id"] == f"modr-{answered.headers['x-content-id']}"
    assert refused.headers["x-content-id"] != answered.headers["x-content-id"]
    gateway.services.flush_metrics()
    labels = {"route": "moderations", "model": "safety-gateway", "key": "acme/test"}
    for outcome in ("ok", "client_error"):
        found = gateway.services.metrics.registry.get_sample_value(
            "gateway_requests_total", {**labels, "outcome": outcome}
        )
        assert found == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 1}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a"] * 1001}, "input"),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:x"}}]}, "input[0]"),
        ({"input": [1]}, "input[0]"),
    ],
)
async def test_a_bad_input_is_named(gateway: Running, body: Any, param: str) -> None:
    """A 400 in the one shape."""
    answer = await ask(gateway, body)
    assert (400, param) == (answer.status_code, answer.json()["error"]["param"])


@pytest.mark.parametrize("texts", ["a" * 1_000_001, ["a" * 500_001, "a" * 500_000]])
def test_the_texts_together_are_bounded(texts: Any) -> None:
    """A million characters are read, one more is a 400."""
    with pytest.raises(Problem, match="1000000 characters"):
        moderations.read(json.dumps({"input": texts}).encode())
    assert [1_000_000] == [len(text) for text in moderations.read(json.dumps({"input": "a" * 1_000_000}).encode())]


async def test_it_needs_a_key_and_a_post(gateway: Running) -> None:
    """Without a key 401; by another method 405."""
    assert 401 == (await ask(gateway, {"input": "a"}, secret=None)).status_code
    async with gateway.client() as client:
        assert 405 == (await client.get("/v1/moderations")).status_code


async def test_without_a_library_nothing_is_answered(gateway: Running) -> None:
    """Until there is something to judge by, questions and moderations alike are put off."""
    gateway.services.shelf.has_library = False
    async with gateway.client() as client:
        for path in ("/v1/moderations", "/v1/chat/completions"):
            answer = await client.post(path, json={"input": "a"})
            assert (503, "starting") == (answer.status_code, answer.json()["error"]["code"])


@pytest.mark.parametrize(
    "route", [("POST", "/v1/responses", "responses"), ("GET", "/v1/completions", "relay"), ("POST", "/v1/new", "relay")]
)
def test_a_route_around_the_guard_stops_the_start(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, route: tuple[str, str, str]
) -> None:
    """Whoever adds a route to a model that the relay does not guard cannot start the gateway."""
    monkeypatch.setattr(app, "ROUTES", (*app.ROUTES, route))
    with pytest.raises(app.UnguardedRoute, match=route[1]):
        app.App(gateway.services)


async def test_it_is_on_record(gateway: Running) -> None:
    """Whoever tries out what is blocked leaves a trace: the texts, and what was said of them."""
    kept: list[Turn] = []

    class Kept(Unrecorded):
        async def finished(self, turn: Turn) -> None:
            kept.append(turn)

    gateway.set_stages(audit=Kept())
    await ask(gateway, {"input": ["你好", "说说禁忌配方"]})
    await ask(gateway, {"input": "你好"})
    assert ["你好。\n说说禁忌配方", "你好"] == [turn.utterance.text for turn in kept]
    assert [True, False] == [turn.verdict.refused for turn in kept]
    assert all(turn.accepted for turn in kept)
