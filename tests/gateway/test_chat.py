"""A conversation, and what can go wrong in one."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.chat import ChatFailed, Conversation, Measured, client, printable

Answer = Callable[[httpx.Request], httpx.Response]


def chunk(**delta: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


USAGE = b'data: {"choices": [], "usage": {"completion_tokens": 5}}\n\n'
DONE = b"data: [DONE]\n\n"


def conversation(answer: Answer, **fields: Any) -> Conversation:
    ticks = iter(range(100))
    connection = httpx.Client(base_url="http://gw/v1/", transport=httpx.MockTransport(answer))
    return Conversation(connection, "m", clock=lambda: float(next(ticks)), **fields)


def stream(*parts: bytes, status: int = 200) -> Answer:
    return lambda _: httpx.Response(status, content=b"".join(parts))


def said(talk: Conversation, text: str = "hi") -> tuple[str, Measured]:
    shown: list[str] = []
    measured = talk.say(text, shown.append)
    return "".join(shown), measured


def test_what_is_sent_and_remembered() -> None:
    """The system prompt stands first, turns follow, options ride along; thoughts are shown and kept as well."""
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        parts = (
            b": ping\n\n",
            chunk(role="assistant"),
            chunk(reasoning_content="hm "),
            chunk(content="yes"),
            USAGE,
            DONE,
        )
        return httpx.Response(200, content=b"".join(parts))

    talk = conversation(answer, system="be brief", fields={"temperature": 0})
    assert said(talk)[0] == "hm yes"
    said(talk, "more")
    turns = [("system", "be brief"), ("user", "hi"), ("assistant", "hm yes"), ("user", "more")]
    assert turns == [(one["role"], one["content"]) for one in bodies[1]["messages"]]
    assert ("m", True, {"include_usage": True}, 0) == tuple(
        bodies[0][name] for name in ("model", "stream", "stream_options", "temperature")
    )
    talk.reset()
    said(talk, "new")
    assert [("system", "be brief"), ("user", "new")] == [(m["role"], m["content"]) for m in bodies[2]["messages"]]


def test_how_fast_it_was() -> None:
    """Tokens as the gateway counts them, over the time from the first word to the last; else the pieces, about."""
    _, measured = said(conversation(stream(chunk(content="a"), chunk(content="b"), chunk(content="c"), USAGE, DONE)))
    assert (measured.tokens, measured.first_seconds, measured.last_seconds, measured.speed) == (5, 1.0, 3.0, 2.0)
    assert str(measured) == "5 tokens, 2.0 tokens/s, the first after 1.00 s"
    _, about = said(conversation(stream(chunk(content="a"), DONE)))
    assert str(about) == "about 1 tokens, 1.0 tokens/s, the first after 1.00 s"
    _, nothing = said(conversation(stream(DONE)))
    assert nothing.tokens == 0


def test_ctrl_c_keeps_what_came() -> None:
    """An answer that was cut is remembered as far as it was shown."""

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield chunk(content="half")
            raise KeyboardInterrupt

    talk = conversation(lambda _: httpx.Response(200, stream=Stream()))
    text, measured = said(talk)
    assert ("half", True) == (text, measured.cut)
    assert str(measured).endswith(", cut")
    assert talk.turns[-1] == {"role": "assistant", "content": "half"}


def test_an_answer_without_a_word_is_forgotten() -> None:
    """No empty turn of the assistant's is sent the next time."""
    talk = conversation(stream(DONE))
    said(talk)
    assert talk.turns == []


ERROR = b'{"error": {"message": "no such model", "code": "model_not_found"}}'


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (stream(ERROR, status=404), "404: no such model (model_not_found)"),
        (stream(b"<html>proxy</html>", status=502), "502: <html>proxy</html>"),
        (stream(b"[]", status=500), "500: []"),
        (stream(b'{"error": "plain"}', status=500), '500: {"error": "plain"}'),
        (stream(chunk(content="a"), b"data: " + ERROR + b"\n\n"), "no such model (model_not_found)"),
        (stream(chunk(content="a")), "the answer broke off before its end"),
        (stream(b"data: 5\n\n"), "the answer is no chat completion"),
        (stream(b"data: {\n\n"), "the answer is no chat completion"),
    ],
)
def test_failures(answer: Answer, words: str) -> None:
    """Each is one sentence, and the turn was not said."""
    talk = conversation(answer)
    with pytest.raises(ChatFailed) as raised:
        said(talk)
    assert (words, []) == (str(raised.value), talk.turns)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("refused"), "no gateway answers at http://gw/v1/: refused"),
        (httpx.ReadTimeout(""), "the answer broke off: ReadTimeout"),
        (httpx.RemoteProtocolError("closed"), "the answer broke off: closed"),
    ],
)
def test_a_connection_that_fails(error: httpx.HTTPError, words: str) -> None:
    """The reason is said."""

    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(ChatFailed, match=f"^{words}$"):
        said(conversation(answer))


def test_an_answer_does_not_take_over_the_terminal() -> None:
    """Control characters are left out; blanks of all scripts stay."""
    assert printable("a\x1b[2J\x9b1m\a你\u3000好\n\tb\r") == "a[2J1m你\u3000好\n\tb"


@pytest.mark.parametrize("url", ["http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/"])
def test_the_url(url: str) -> None:
    """With and without /v1; without a key no header is sent."""
    with client(url, None) as connection:
        assert (str(connection.base_url), "authorization" in connection.headers) == ("http://h:8000/v1/", False)
    with client(url, "sk-1") as connection:
        assert connection.headers["authorization"] == "Bearer sk-1"
