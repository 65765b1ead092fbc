"""An external deployment whose name stands for several addresses, as the workers hear of it."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from backends.deployment import Deployment, Engine
from backends.discovery import ByName, Discovered
from backends.endpoint import Endpoint, ReplicaState
from gateway.fleet import house
from gateway.fleet.fleet import Fleet
from gateway.fleet.house import House
from gateway.settings import Settings
from gateway.state import board
from tests.fakes import END, SSE, FakeEngine, Pause, Received, Send, Step, chunk, head, vllm_events, well_behaved
from tests.gateway.conftest import MODEL, eventually, running

CHAT = "/v1/chat/completions"


class Heard:
    """What is published, in place of a state server."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.endpoints: list[Endpoint] = []

    async def publish(self, name: str, document: list[Any]) -> None:
        self.names.add(name)
        self.endpoints = msgspec.convert(document, list[Endpoint])


def slowly(received: Received) -> Sequence[Step]:
    """Stream a word every 50 ms."""
    if received.path != CHAT:
        return well_behaved(received)
    pauses = [step for event in vllm_events() for step in (Pause(0.05), Send(chunk(event)))]
    return [Send(head(SSE)), *pauses, Send(END)]


async def test_addresses_change_under_running_streams(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut: streams at an address that is gone end whole, new ones go to the address that has come."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "你好"}], "stream": True}
    async with FakeEngine(slowly) as old, running(settings) as gateway, gateway.client() as client:
        new = FakeEngine(slowly)
        await new.listen(old.port, "127.0.0.2")
        url = f"http://engines:{old.port}"
        deployment = Deployment(model=MODEL, engine=Engine.EXTERNAL, url=url, discover="dns")
        heard, addresses = Heard(), {"127.0.0.1"}
        fleet = Fleet("here", House(settings.data_dir), heard)  # type: ignore[arg-type]

        async def resolve(host: str, port: int) -> set[str]:
            assert (host, port) == ("engines", old.port)
            return set(addresses)

        def states() -> dict[str, ReplicaState]:
            gateway.services.pool.update(heard.endpoints)
            return {one.host: one.state for one in heard.endpoints}

        look = partial(Discovered, resolve=resolve, look_seconds=0.02, drain_seconds=0.1)
        quick = partial(ByName, look=look)
        monkeypatch.setattr(house, "ByName", quick)
        async with fleet.running():
            fleet.apply([deployment])
            await eventually(lambda: states() == {"127.0.0.1": ReplicaState.READY})
            streams = [asyncio.create_task(client.post(CHAT, json=body)) for _ in range(20)]
            await eventually(lambda: sum(received.path == CHAT for received in old.received) == 20)
            addresses = {"127.0.0.2"}
            await eventually(lambda: states() == {"127.0.0.2": ReplicaState.READY})
            assert not any(task.done() for task in streams)
            after = await client.post(CHAT, json=body)
            answers = await asyncio.gather(*streams)
        assert [True] * 21 == ["[DONE]" in answer.text and "error" not in answer.text for answer in (*answers, after)]
        assert (20, 1) == tuple(sum(one.path == CHAT for one in engine.received) for engine in (old, new))
        await new.__aexit__()
        assert {board.replicas_of("here")} == heard.names, "no other gateway's"
        assert [ReplicaState.STOPPED] == [one.state for one in heard.endpoints]
