"""Two gateways on one Redis and one PostgreSQL: people, words and standings are the same at both doors."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import redis

from gateway.state.redis import embedded_binary
from tests import postgres, tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, free_ports, publish_word, refused, say, shell, start, stop, suspended
from tests.gateway.test_serve import pid_of

WORD = "紫色大象"
BAD = f"怎样偷走{WORD}"
KNOWN_SECONDS = 1.0
"""For what happened at one gateway to be known to the other."""
INDEXED_SECONDS, REBUILT_SECONDS, RESTARTED_SECONDS = 3.0, 8.0, 20.0
"""For the log to be in the database; for both to have looked at a state server that has lost everything; for a control
process that was killed to be there again, and to have compared standings with its log."""

pytestmark = pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, (port,) = tmp_path_factory.mktemp("redis"), free_ports(1)
    argv = [embedded_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture(scope="module")
def gateways(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    folder = tmp_path_factory.mktemp("two")
    model = str(tiny_gguf.write(folder / "tiny.gguf"))
    settings = {"deployments": [{"model": "tiny", "engine": "xllamacpp", "path": model, "max_model_len": 512}]}
    with postgres.running() as server:
        url = postgres.create(server, "gateway")
        both = []
        try:
            for name in ("first", "second"):
                made = start(
                    folder / name, settings, GATEWAY_REDIS_URL=redis_url, GATEWAY_DATABASE_URL=url, GATEWAY_NODE=name
                )
                both.append(made)
            publish_word(both[0], WORD)
            yield both[0], both[1]
        finally:
            for made in both:
                stop(made)


def admin(stack: Stack) -> httpx.Client:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{stack.admin_port}", headers=headers, timeout=30)


def within(seconds: float, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_words_published_at_one_are_refused_at_both(gateways: tuple[Stack, Stack]) -> None:
    within(KNOWN_SECONDS, lambda: refused(say(gateways[1], BAD)))


def test_strikes_add_up_over_both(gateways: tuple[Stack, Stack]) -> None:
    """Two at one door and one at the other; then both are closed, for this person alone."""
    first, second = gateways
    for door, text in ((first, BAD), (second, f"{BAD}吗"), (first, f"请问{BAD}")):
        assert refused(say(door, text, "ann"))
    for door in gateways:
        within(KNOWN_SECONDS, lambda door=door: suspended(say(door, "你好", "ann")))
        assert not suspended(say(door, "你好", "bob"))


def test_the_same_words_at_both_are_one_strike(gateways: tuple[Stack, Stack]) -> None:
    for text in (BAD, f"{BAD}吗"):
        for door in gateways:
            assert refused(say(door, text, "carl"))
    assert not suspended(say(gateways[0], "你好", "carl"))


def test_what_is_done_at_one_door_holds_at_both(gateways: tuple[Stack, Stack]) -> None:
    """A ban entered at the second is in force at the first; turns of both are found at either."""
    first, second = gateways
    with admin(second) as client:
        dora = client.post("/admin/people/lookup", json={"user": "dora"}).json()["id"]
        assert client.post(f"/admin/people/{dora}/ban", json={"reason": "a test"}).status_code == 200
    for door in gateways:
        within(2 * KNOWN_SECONDS, lambda door=door: suspended(say(door, "你好", "dora")))
    with admin(first) as client:
        ann = client.post("/admin/people/lookup", json={"user": "ann"}).json()["id"]
        assert client.get(f"/admin/people/{ann}").json()["standing"]["suspended_until"] is not None
        assert client.post(f"/admin/people/{ann}/lift", json={"reason": "a test"}).status_code == 200
    for door in gateways:
        within(KNOWN_SECONDS, lambda door=door: not suspended(say(door, "你好", "ann")))


def test_a_lost_state_is_rebuilt_from_both_logs(gateways: tuple[Stack, Stack], redis_url: str) -> None:
    """Somebody with violations at both doors is as far from a suspension as before."""
    first, second = gateways
    assert refused(say(first, f"{BAD}呢", "fred"))
    assert refused(say(second, f"{BAD}啊", "fred"))
    time.sleep(INDEXED_SECONDS)
    with redis.Redis.from_url(redis_url) as state:
        state.flushall()
    time.sleep(REBUILT_SECONDS)
    assert refused(say(second, f"{BAD}吧", "fred"))
    for door in gateways:
        within(KNOWN_SECONDS, lambda door=door: suspended(say(door, "你好", "fred")))
        within(KNOWN_SECONDS, lambda door=door: suspended(say(door, "你好", "dora")))


def test_a_gateway_that_begins_while_the_other_one_hangs_frees_nobody(gateways: tuple[Stack, Stack]) -> None:
    """The third strike is in no database: who indexes it hangs, and the first one begins with two."""
    first, second = gateways
    hanging = pid_of(second, "gateway.control")
    os.kill(hanging, signal.SIGSTOP)
    try:
        for door, text in ((first, BAD), (first, f"{BAD}吗"), (second, f"请问{BAD}")):
            assert refused(say(door, text, "gina"))
        os.kill(pid_of(first, "gateway.control"), signal.SIGKILL)
        deadline = time.monotonic() + RESTARTED_SECONDS
        while time.monotonic() < deadline:
            for door in gateways:
                within(KNOWN_SECONDS, lambda door=door: suspended(say(door, "你好", "gina")))
    finally:
        os.kill(hanging, signal.SIGCONT)
    time.sleep(INDEXED_SECONDS)
    for door in gateways:
        assert suspended(say(door, "你好", "gina"))
        rebuilt = shell(door, "strikes", "rebuild", "--json")
        assert json.loads(rebuilt.stdout)["left"] == 0, rebuilt.stdout + rebuilt.stderr
        assert suspended(say(door, "你好", "gina"))


def test_both_chains_verify(gateways: tuple[Stack, Stack]) -> None:
    for door in gateways:
        verified = shell(door, "audit", "verify", "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
