"""A whole gateway with two workers: strikes, suspensions and the log, through what Dify sends."""

import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests import tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, publish_word, refused, say, shell, start, stop, suspended

WORD = "紫色大象"
BAD = f"怎样偷走{WORD}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("people")
    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512}
    stack = start(folder, {"deployments": [deployment]}, GATEWAY_WORKERS="2")
    publish_word(stack, WORD)
    yield stack
    stop(stack)


def test_three_in_a_row_close_the_door(gateway: Stack) -> None:
    """The fourth turn, however innocent, is the suspension; the next person is untouched."""
    for text in (BAD, f"{BAD}吗", f"请问{BAD}"):
        assert refused(say(gateway, text, "ann"))
    assert suspended(say(gateway, "你好", "ann"))
    assert not suspended(say(gateway, "你好", "bob"))
    assert not suspended(say(gateway, "你好"))


def test_a_conversation_of_dify_is_one_strike(gateway: Stack) -> None:
    """Refused question, its title, suggested questions, the next turn with the question in its history, a retry."""
    asked = {"role": "user", "content": BAD}
    told = {"role": "assistant", "content": "抱歉"}
    assert refused(say(gateway, BAD, "carl"))
    assert refused(say(gateway, BAD, "carl"))
    assert refused(say(gateway, f"You are asked to generate a concise chat title\nUser Input:\n{BAD}"))
    say(gateway, f"Human:{BAD}\nPlease help me predict the three most likely questions", "unknown")
    assert not refused(say(gateway, "你好", "carl", (asked, told)))
    for text in ("一", "二"):
        assert refused(say(gateway, f"{BAD}{text}", "carl"))
    assert not suspended(say(gateway, "你好", "carl"))


def test_the_log_verifies_and_the_standing_is_its_replay(gateway: Stack) -> None:
    """After a rebuild from the log the same people are suspended."""
    verified = shell(gateway, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    rebuilt = shell(gateway, "strikes", "rebuild", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    time.sleep(0.6)
    assert suspended(say(gateway, "你好", "ann"))
    assert not suspended(say(gateway, "你好", "carl"))


def within(seconds: float, what: Callable[[], bool]) -> bool:
    """Return whether *what* holds for eight turns in a row, so of both workers, before *seconds* are over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(what() for _ in range(8)):
            return True
    return False


def test_what_admins_do_counts_in_all_workers(gateway: Stack) -> None:
    """Within a second of the answer, by REST and from the shell; the log verifies, and its replay gives the same."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    base = f"http://127.0.0.1:{gateway.admin_port}/admin"
    with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
        eve = client.post("/people/lookup", json={"user": "eve"}).json()["id"]
        for on, off in (("suspend", "lift"), ("ban", "unban")):
            body = {"reason": "a test", "hours": 1}
            assert client.post(f"/people/{eve}/{on}", json=body).json()["applied"]
            assert within(1, lambda: suspended(say(gateway, "你好", "eve")))
            assert client.post(f"/people/{eve}/{off}", json={"reason": "a test"}).status_code == 200
            assert within(1, lambda: not suspended(say(gateway, "你好", "eve")))
        alias = {"alias": "eve-2", "user": "eve", "reason": "two apps"}
        assert client.post("/aliases", json=alias).status_code == 201
        assert client.post(f"/people/{eve}/suspend", json={"reason": "r", "until_lifted": True}).status_code == 200
        assert within(1, lambda: suspended(say(gateway, "你好", "eve-2")))
        assert shell(gateway, "strikes", "rebuild").returncode == 0
        assert within(2, lambda: suspended(say(gateway, "你好", "eve-2")))
        lifted = shell(gateway, "people", "lift", "--user", "eve-2", "--reason", "r", "--json")
        assert json.loads(lifted.stdout)["person"]["id"] == eve
        assert within(2, lambda: not suspended(say(gateway, "你好", "eve-2")))
        assert shell(gateway, "people", "ban", eve, "--reason", "r").returncode == 0
        assert within(2, lambda: suspended(say(gateway, "你好", "eve")))
        shown = client.get(f"/people/{eve}").json()
        assert [one["user"] for one in shown["aliases"]] == ["eve-2"]
        assert client.post(f"/people/{eve}/unban", json={"reason": "r"}).status_code == 200
    verified = shell(gateway, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
