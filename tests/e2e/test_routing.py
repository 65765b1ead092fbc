"""Two replicas of one model on real engines, one of them killed."""

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.embedded import deployments
from tests.backends.running import wait_until
from tests.e2e.conftest import Stack, start, stop

MODEL = "pair"
ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me a story about a fox."}],
    "temperature": 0,
    "max_tokens": 16,
}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    smol = deployments()[0]
    pair = {
        "model": MODEL,
        "engine": "xllamacpp",
        "path": smol.path,
        "replicas": 2,
        "parallel": 2,
        "max_model_len": 1024,
        "extra_args": ["-t", "1"],
    }
    stack = start(tmp_path_factory.mktemp("routing"), {"deployments": [pair], "workers": 2})
    yield stack
    stop(stack)


def metric(stack: Stack, name: str) -> dict[str, float]:
    """Return a metric by replica."""
    with stack.client() as client:
        text = client.get("/metrics").text
    return {found[1]: float(found[2]) for found in re.finditer(rf'{name}{{.*replica="([^"]*)".*}} (\S+)', text)}


def served(stack: Stack) -> dict[str, float]:
    """Return the tokens of answers, by replica."""
    return metric(stack, "gateway_completion_tokens_total")


def whole(stack: Stack) -> int:
    with stack.client() as client:
        return client.post(CHAT, json=ASK).status_code


def engine_of(stack: Stack, replica: str) -> int:
    """Return the process id of a replica's engine, by the log that it writes."""
    folder = str(stack.folder / "data" / "engines")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            log = str((process / "fd" / "1").readlink())
        except OSError:
            continue
        if "backends.engines.xllamacpp_server" in words and folder in log and replica in log:
            return int(process.name)
    raise LookupError(replica)


def test_both_replicas_work_and_one_that_is_killed_costs_no_whole_answer(gateway: Stack) -> None:
    """More requests than slots wait; a killed engine's are answered by the other; once it is back it takes its part."""
    with ThreadPoolExecutor(12) as threads:
        assert [200] * 12 == list(threads.map(whole, [gateway] * 12))
        wait_until(lambda: sum(tokens > 0 for tokens in served(gateway).values()) == 2)
        running = [threads.submit(whole, gateway) for _ in range(12)]
        wait_until(lambda: metric(gateway, "gateway_in_flight_requests").get(f"{MODEL}#1", 0) > 0)
        os.kill(engine_of(gateway, f"{MODEL}_1"), signal.SIGKILL)
        assert [200] * 12 == [task.result() for task in running]
        wait_until(lambda: sum(metric(gateway, "gateway_moved_requests_total").values()) >= 1)
        wait_until(lambda: gateway.log().count(f"{MODEL}#1 is ready") == 2)
        time.sleep(1.2)
        after = served(gateway)[f"{MODEL}#1"]
        assert [200] * 12 == list(threads.map(whole, [gateway] * 12))
        wait_until(lambda: served(gateway)[f"{MODEL}#1"] > after)
