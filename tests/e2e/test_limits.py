"""Rate limits over all workers of a real gateway; a worker that is killed leaves no limit behind, nor takes one away."""

import collections
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from gateway.embedded import deployments
from policies.rates import PLACE_MS
from tests import tiny_gguf
from tests.backends.running import children
from tests.e2e.conftest import Stack, shell, start, stop

LIMIT = 40
QUESTION = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("limits")
    model = str(tiny_gguf.write(folder / "tiny.gguf"))
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": model, "parallel": 4, "max_model_len": 512}
    smol = {"model": "smollm2", "engine": "xllamacpp", "path": deployments()[0].path, "max_model_len": 2048}
    settings = {"deployments": [deployment, smol], "workers": 2}
    limits = {"requests_per_minute": LIMIT, "parallel_streams": 1}
    made = start(folder / "gw", settings, GATEWAY_LIMITS__PERSON=json.dumps(limits))
    yield made
    stop(made)


def ask(stack: Stack, user: str, **fields: object) -> httpx.Response:
    """Ask on a connection of its own, so that any worker may get it."""
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 1, "user": user, **fields}
    with stack.client() as client:
        return client.post("/v1/chat/completions", json=body)


def test_all_workers_together_give_the_limit_and_no_more(gateway: Stack) -> None:
    """Eight people who ask at once, of one name: exactly as many are answered as may be."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(gateway, "ann"), range(LIMIT + 20)))
    assert {200: LIMIT, 429: 20} == collections.Counter(answer.status_code for answer in answers)
    left = sorted(int(answer.headers["x-ratelimit-remaining-requests"]) for answer in answers)
    assert left == [0] * 20 + list(range(LIMIT))
    assert 200 == ask(gateway, "bob").status_code


def test_a_limit_of_a_key_counts_at_once(gateway: Stack) -> None:
    """Set by the shell while the gateway runs, and taken away again."""
    (key,) = json.loads(shell(gateway, "keys", "list", "--json").stdout)
    for flag, status in (("1", 429), ("none", 200)):
        done = shell(gateway, "keys", "change", key["id"], "--person-requests-per-minute", flag)
        assert 0 == done.returncode, done.stderr
        deadline = time.monotonic() + 60
        while ask(gateway, "carl").status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.skipif("GATEWAY_TEST_KILLS" not in os.environ, reason="takes half a minute: make test-kills")
def test_streams_of_a_killed_worker_come_free(gateway: Stack) -> None:
    """Within the time that a place is kept without being renewed; those of the other worker were never in question."""
    body = {"model": "smollm2", "messages": QUESTION, "user": "dora", "stream": True, "max_tokens": 500}
    stream = gateway.client().stream("POST", "/v1/chat/completions", json={**body, "ignore_eos": True})
    with contextlib.suppress(httpx.HTTPError), stream as response:
        lines = response.iter_lines()  # held: else it closes the connection
        next(lines)
        assert [200, 429] == [response.status_code, ask(gateway, "dora", stream=True).status_code]
        for pid in workers(gateway):
            os.kill(pid, signal.SIGKILL)
        list(lines)
    killed = time.monotonic()
    while True:
        try:
            if ask(gateway, "dora", stream=True).status_code == 200:
                break
        except httpx.HTTPError:  # the workers are being started again
            pass
        assert time.monotonic() < killed + PLACE_MS / 1000 + 5
        time.sleep(0.5)
    assert time.monotonic() > killed + 15, "the place was kept for a while"


def workers(stack: Stack) -> list[int]:
    """Return the pids of a gateway's workers."""
    found = children(stack.process.pid)
    return [pid for pid in found if b"gateway.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
