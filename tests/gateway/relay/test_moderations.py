"""OpenAI's moderation form, answered by the library."""

from typing import Any

import pytest

from gateway import app
from keywords.entry import Action, Entry
from keywords.library import Library
from keywords.risks import RISKS
from tests.gateway.conftest import Running

LIBRARY = Library.build(
    [
        Entry(id=1, term="禁忌配方", risk="A1d", action=Action.BLOCK),
        Entry(id=2, term="敏感话题", risk="A1g", action=Action.JUDGE),
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
