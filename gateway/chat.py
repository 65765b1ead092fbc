"""A conversation with a model through the gateway, for a terminal."""

import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from backends.errors import EngineBroken
from gateway.relay.sse import EventSplitter

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 300.0
"""Between two reads; the gateway pings far more often."""
EVENT_BYTES = 4 * 1024 * 1024
DONE = b"[DONE]"
LONGEST_ERROR = 500


class ChatFailed(Exception):
    """A turn got no answer, or not all of it; the message says why."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast an answer came. Seconds are counted from the question."""

    tokens: int
    first_seconds: float
    last_seconds: float
    counted: bool
    """Whether the gateway told the tokens; else they are the pieces in which the answer came."""
    cut: bool = False
    """Whether the person cut it."""

    @property
    def speed(self) -> float:
        """Tokens a second from the first word to the last; of an answer in one piece, from the question on."""
        between = self.last_seconds - self.first_seconds
        if self.tokens > 1 and between > 0:
            return (self.tokens - 1) / between
        return self.tokens / self.last_seconds if self.last_seconds > 0 else 0.0

    def __str__(self) -> str:
        """Return it in one line."""
        about = "" if self.counted else "about "
        text = f"{about}{self.tokens} tokens, {self.speed:.1f} tokens/s, the first after {self.first_seconds:.2f} s"
        return f"{text}, cut" if self.cut else text


class Conversation:
    """What was said so far, and the way to say more. *fields* are sent with every request."""

    def __init__(
        self,
        client: httpx.Client,
        model: str,
        system: str | None = None,
        fields: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.client = client
        self.model = model
        self.system = system
        self.turns: list[dict[str, str]] = []
        self.fields = fields or {}
        self.clock = clock

    def say(self, text: str, write: Callable[[str], None]) -> Measured:
        """Say *text* and hand the answer to *write*, piece by piece; return how fast it came.

        Ctrl-C cuts the answer, and what has come of it stays said; without a word of it neither does *text*.
        Raises `ChatFailed`; then nothing was said.
        """
        asked = self.clock()
        times: list[float] = []
        said: list[str] = []
        tokens: int | None = None
        cut = False
        self.turns.append({"role": "user", "content": text})
        try:
            for chunk in self._chunks():
                tokens = _tokens(chunk, tokens)
                if piece := _text(chunk):
                    times.append(self.clock() - asked)
                    said.append(piece)
                    write(printable(piece))
        except KeyboardInterrupt:
            cut = True
        except ChatFailed:
            self.turns.pop()
            raise
        if said:
            self.turns.append({"role": "assistant", "content": "".join(said)})
        else:  # an empty answer is nothing to go on from, and some templates refuse it
            self.turns.pop()
        first, last = (times[0], times[-1]) if times else (self.clock() - asked,) * 2
        return Measured(tokens if tokens is not None else len(said), first, last, tokens is not None, cut)

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()

    def _body(self) -> dict[str, Any]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return {"model": self.model, "messages": [*system, *self.turns], **options, **self.fields}

    def _chunks(self) -> Iterator[dict[str, Any]]:
        """Ask, and yield the chunks of the answer. Raises `ChatFailed`."""
        splitter = EventSplitter(EVENT_BYTES)
        try:
            with self.client.stream("POST", "chat/completions", json=self._body()) as response:
                if response.status_code != 200:
                    raise ChatFailed(_refusal(response.status_code, response.read()))
                for data in response.iter_bytes():
                    for payload in splitter.feed(data):
                        if payload == DONE:
                            return
                        yield _chunk(payload)
        except httpx.ConnectError as error:
            raise ChatFailed(f"no gateway answers at {self.client.base_url}: {error}") from None
        except (httpx.HTTPError, EngineBroken) as error:
            raise ChatFailed(f"the answer broke off: {str(error) or type(error).__name__}") from None
        raise ChatFailed("the answer broke off before its end")


def client(url: str, key: str | None) -> httpx.Client:
    """Return a client for the gateway at *url*, with or without ``/v1``."""
    base = url.rstrip("/").removesuffix("/v1") + "/v1/"
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(base_url=base, headers=headers, timeout=timeout, trust_env=False)


def printable(text: str) -> str:
    """Return *text* without control characters, with which an answer could take over a terminal."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def _chunk(payload: bytes) -> dict[str, Any]:
    """Return one chunk. Raises `ChatFailed` where it says that something went wrong."""
    try:
        chunk = json.loads(payload)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise ChatFailed("the answer is no chat completion")
    if isinstance(chunk.get("error"), dict):
        raise ChatFailed(_words(chunk["error"]))
    return chunk


def _text(chunk: dict[str, Any]) -> str:
    """Return what a chunk adds to the answer, a reasoning model's thoughts among it."""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        return "".join(delta.get(name) or "" for name in ("reasoning_content", "content"))
    return ""


def _tokens(chunk: dict[str, Any], before: int | None) -> int | None:
    found = (chunk.get("usage") or {}).get("completion_tokens")
    return found if isinstance(found, int) else before


def _refusal(status: int, body: bytes) -> str:
    try:
        return f"{status}: {_words(json.loads(body)['error'])}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{status}: {printable(body.decode('utf-8', 'replace'))[:LONGEST_ERROR]}"


def _words(error: dict[str, Any]) -> str:
    code = f" ({error['code']})" if error.get("code") else ""
    return printable(f"{error.get('message')}{code}")[:LONGEST_ERROR]
