"""A whole gateway with two workers: strikes, suspensions and the log, through what Dify sends."""

import time
from collections.abc import Iterator

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
