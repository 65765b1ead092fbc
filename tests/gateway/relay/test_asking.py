import json
from typing import Any

import pytest

from backends.load import Priority
from gateway.audit.record import Turn
from gateway.keys import Caller
from gateway.people.standing import Standing
from gateway.relay.asking import LONGEST_ANSWER, USUAL_ANSWER, affinity_key, ask_of, tokens_of
from gateway.relay.wire import CHAT, COMPLETION, EMBEDDINGS, RERANK, Request, Route, read


def request(route: Route = CHAT, **body: Any) -> Request:
    return read(route, json.dumps({"model": "m", **body}).encode())


def chat(*said: tuple[str, Any], **fields: Any) -> Request:
    return request(messages=[{"role": role, "content": content} for role, content in said], **fields)


HELLO = ("user", "你好，请介绍一下差旅制度")
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (chat(HELLO), 1 + 6 + USUAL_ANSWER),
        (chat(HELLO, max_tokens=100), 107),
        (chat(HELLO, max_tokens=100, max_completion_tokens=50, n=3), 157),
        (chat(HELLO, max_tokens=10**12), 7 + LONGEST_ANSWER),
        (chat(("system", "x" * 1000), HELLO, max_tokens=1), 508),
        (chat(("user", [{"type": "text", "text": "x" * 20}, PICTURE]), max_tokens=1), 12),
        (request(COMPLETION, prompt=["x" * 20, "y" * 20], max_tokens=5), 31),
        (request(EMBEDDINGS, input=["x" * 20, "y" * 20]), 21),
        (request(RERANK, query="x" * 20, documents=["y" * 20, {"text": "z" * 20}]), 31),
    ],
)
def test_prompt_and_longest_answer_are_counted(asked: Request, expected: int) -> None:
    """Two characters a token; the limit of the answer, or a usual one; a picture is not its letters."""
    assert expected == tokens_of(asked)


def test_turns_of_one_conversation_share_a_key() -> None:
    """However the history grows, and whatever Dify has retrieved for the new question."""

    def app(context: str) -> tuple[str, str]:
        return (
            "system",
            f"Use the following, inside <context></context> tags.\n<context>\n{context}\n</context>\n财务助手",
        )

    first = affinity_key("m", chat(app("第一段"), HELLO))
    later = chat(app("另一段"), HELLO, ("assistant", "好的"), ("user", "第二个问题"))
    assert first == affinity_key("m", later)


def test_conversations_have_keys_of_their_own() -> None:
    """Another model, app or first question is another key: an app alone would be one replica's."""
    app = ("system", "财务助手")
    keys = [
        affinity_key("m", chat(app, HELLO)),
        affinity_key("n", chat(app, HELLO)),
        affinity_key("m", chat(("system", "法务助手"), HELLO)),
        affinity_key("m", chat(app, ("user", "别的问题"))),
        affinity_key("m", chat(app, ("user", [{"type": "text", "text": "别的"}]))),
        affinity_key("m", request(COMPLETION, prompt="别的问题")),
    ]
    assert len(keys) == len(set(keys))


def test_what_has_no_conversation_has_no_key() -> None:
    """Embeddings profit from no cache, and lists of prompts are no beginning."""
    assert "" == affinity_key("m", request(EMBEDDINGS, input="x"))
    assert "" == affinity_key("m", request(COMPLETION, prompt=["x", "y"]))


def test_the_queue_is_told_whose_and_how_urgent() -> None:
    """By the person where one is known, else by key and name; the key of a conversation only where it is of use."""
    caller = Caller(key_id="k1", name="n", tenant="t", priority="high")
    turn = Turn(caller, "chat", 0.0, user="u-1", model="m")
    ask = ask_of(turn, chat(HELLO), choice=False)
    assert ("k1/u-1", Priority.HIGH, "") == (ask.person, ask.priority, ask.key)
    turn.standing = Standing("p9")
    ask = ask_of(turn, chat(HELLO), choice=True)
    assert ("p9", affinity_key("m", chat(HELLO))) == (ask.person, ask.key)
