"""A whole gateway with two workers: strikes, suspensions and the log, through what Dify sends."""

import time
<<<<<<< HEAD
from collections.abc import Iterator
=======
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
>>>>>>> people/main

import pytest

from tests import tiny_gguf
from tests.e2e.conftest import Stack, publish_word, refused, say, shell, start, stop, suspended

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
<<<<<<< HEAD
=======


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


def children(pid: int, part: str) -> list[int]:
    """Return the direct children of *pid* whose command line names *part*."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(task) for task in tasks if part in Path(f"/proc/{task}/cmdline").read_text()]


async def streamed(stack: Stack, number: int) -> str | None:
    """Stream one answer; return its content id if its end was seen."""
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    text = f"{BAD}第{number}次" if number % 10 == 0 else "你好"
    body = {"model": "tiny", "stream": True, "max_tokens": 20, "user": f"u{number}"}
    body["messages"] = [{"role": "user", "content": text}]
    try:
        async with (
            httpx.AsyncClient(timeout=30) as client,
            client.stream("POST", f"{stack.base_url}/chat/completions", json=body, headers=headers) as answer,
        ):
            lines = [line async for line in answer.aiter_lines()]
            return answer.headers["x-content-id"] if "data: [DONE]" in lines else None
    except httpx.HTTPError:
        return None


@pytest.mark.parametrize("part", ["gateway.worker", "valkey-server"])
def test_kills_lose_no_record(gateway: Stack, part: str) -> None:
    """Each answer whose end somebody saw has both records, whoever was killed in the middle; the chain verifies."""

    async def storm() -> list[str]:
        tasks = [asyncio.create_task(streamed(gateway, number)) for number in range(STREAMS)]
        await asyncio.sleep(0.3)
        for pid in children(gateway.process.pid, part)[:1]:
            os.kill(pid, signal.SIGKILL)
        seen = [found for found in await asyncio.gather(*tasks) if found is not None]
        await asyncio.sleep(CLOSING_SECONDS)
        return seen

    seen: list[str] = []
    for _ in range(KILLS):
        seen += asyncio.run(storm())
        deadline = time.monotonic() + 20
        while "choices" not in json.dumps(ready(gateway)):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert seen
    verified = shell(gateway, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    folder = Path(gateway.environment["GATEWAY_DATA_DIR"]) / "audit"
    log = b"".join(path.read_bytes() for path in folder.glob("*-w*/*.seg*"))
    for content_id in seen:
        assert log.count(content_id.encode()) >= 2


def ready(stack: Stack) -> Any:
    try:
        with stack.client() as client:
            body = {"model": "tiny", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 1}
            return client.post("/v1/chat/completions", json=body).json()
    except httpx.HTTPError:
        return None
>>>>>>> people/main
