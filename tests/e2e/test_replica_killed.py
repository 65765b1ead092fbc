"""One of two real engines is killed under many streams that have begun."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.embedded import deployments
from tests.backends.running import alive, wait_until
from tests.e2e.conftest import CLIENT_KEY, Stack, start, stop
from tests.e2e.test_lifecycle import engines
from tests.e2e.test_routing import ASK, CHAT, metric

MODEL = "pair"
STREAMS = 64
TOKENS = 48


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    pair = {
        "model": MODEL,
        "engine": "xllamacpp",
        "path": deployments()[0].path,
        "replicas": 2,
        "parallel": STREAMS // 2,
        "max_model_len": 256,
        "extra_args": ["-t", "1"],
    }
    stack = start(tmp_path_factory.mktemp("killed"), {"deployments": [pair]})
    yield stack
    stop(stack)


class Seen:
    """What one client reads of its stream."""

    def __init__(self) -> None:
        self.text = b""

    async def read(self, stack: Stack) -> None:
        data = json.dumps({**ASK, "stream": True, "max_tokens": TOKENS}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
        head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(head.encode() + data)
        while piece := await reader.read(1 << 16):
            self.text += piece
        writer.close()

    @property
    def words(self) -> int:
        return self.text.count(b'"content":"')

    @property
    def end(self) -> str:
        done, errors = self.text.count(b"data: [DONE]"), self.text.count(b'data: {"error"')
        return {(1, 0): "done", (0, 1): "error"}.get((done, errors), f"{done} ends, {errors} errors")


async def streams_with_a_kill(stack: Stack) -> tuple[list[Seen], int]:
    """Run all streams, kill a replica once all have begun; return what was seen, and how many that replica had."""
    seen = [Seen() for _ in range(STREAMS)]
    tasks = [asyncio.create_task(one.read(stack)) for one in seen]
    async with asyncio.timeout(240):
        while not all(one.words > 1 for one in seen):
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.1)  # the metrics are moved once a second
        had = round(metric(stack, "gateway_in_flight_requests")[f"{MODEL}#1"])
        assert not any(task.done() for task in tasks)
        os.kill(engines(stack)[f"{MODEL}#1"], signal.SIGKILL)
        await asyncio.gather(*tasks)
    return seen, had


def whole(stack: Stack) -> int:
    with stack.client() as client:
        return client.post(CHAT, json={**ASK, "max_tokens": 4}).status_code


@pytest.mark.timeout(400)
def test_only_its_own_streams_end(gateway: Stack) -> None:
    """Each with one error event; the others come to their end, new requests never see it, and it comes back."""
    before = engines(gateway)
    seen, had = asyncio.run(streams_with_a_kill(gateway))
    ends = [one.end for one in seen]
    assert 0 < had < STREAMS
    assert (ends.count("error"), ends.count("done")) == (had, STREAMS - had), set(ends)
    with ThreadPoolExecutor(12) as threads:
        assert [200] * 12 == list(threads.map(whole, [gateway] * 12))
        wait_until(lambda: gateway.log().count(f"{MODEL}#1 is ready") == 2, 60)
        after = engines(gateway)
        assert after[f"{MODEL}#0"] == before[f"{MODEL}#0"]
        assert not alive(before[f"{MODEL}#1"])
        tokens = metric(gateway, "gateway_completion_tokens_total")[f"{MODEL}#1"]
        assert [200] * 12 == list(threads.map(whole, [gateway] * 12))
        wait_until(lambda: metric(gateway, "gateway_completion_tokens_total")[f"{MODEL}#1"] > tokens)
