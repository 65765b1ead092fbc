"""A whole answer of an engine, as the client gets it. Sans-I/O."""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay import chunks
from gateway.relay.chunks import Choice, Chunk, ModelName
from gateway.relay.wire import CHAT, Request
from policies import refusals
from policies.stream_guard import StreamGuard
from policies.verdict import Verdict


class WholeAnswer:
    """One whole answer: read once, guarded, and written as the engine's bytes wherever nothing has to change."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.request = request
        self.body = body
        try:
            self.chunk: Chunk = chunks.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EngineBroken("The engine's answer is not an OpenAI answer.") from error
        self.cut: Verdict | None = None
        self._writes: list[tuple[int, str, str]] = []
        self._cut_choices: set[int] = set()

    @property
    def choices(self) -> list[Choice]:
        """The answers, none where the route has none."""
        return self.chunk.choices or []

    @property
    def text(self) -> str:
        """All generated text, for counting its tokens."""
        return "".join(text for choice in self.choices for _, text in chunks.texts(choice))

    def guard(self, guard: StreamGuard) -> None:
        """Put each text through *guard*; what changes is written by `encode`."""
        for position, choice in enumerate(self.choices):
            said: dict[str, str] = {}
            channel = released = ""
            for channel, text in chunks.texts(choice):
                step = guard.feed(choice.index, channel, text)
                released = step.release
                if step.release != text or step.cut is not None:
                    said[channel] = step.release
                if step.cut is not None:
                    self._cut(position, choice, said, step.cut)
                    break
            else:
                step = guard.finish(choice.index)
                if step.release:
                    said[channel] = released + step.release
                if step.cut is not None:
                    self._cut(position, choice, said, step.cut)
            self._writes += [(position, *write) for write in said.items()]

    def _cut(self, position: int, choice: Choice, said: dict[str, str], verdict: Verdict) -> None:
        """End a choice: nothing of what stood behind the cut stays, and the refusal stands in its place."""
        self.cut = verdict
        self._cut_choices.add(position)
        behind = False
        cut_at = next(reversed(said), "")
        for channel, _ in chunks.texts(choice):
            if behind:
                said[channel] = ""
            behind = behind or channel == cut_at
        channel = "content" if self.request.route is CHAT else "text"
        said[channel] = said.get(channel, "") + refusals.cut(verdict)

    def encode(self, usage: chunks.Usage | None) -> bytes:
        """Return the answer under the asked name; *usage* is put in where the engine has reported none."""
        missing_usage = usage is not None and self.chunk.usage is None
        missing_content = self.request.route is CHAT and any(_lacks_content(choice) for choice in self.choices)
        if not (self._writes or self._cut_choices or missing_usage or missing_content):
            return ModelName(self.request.model).restore(self.body, self.chunk.model)
        document: dict[str, Any] = msgspec.json.decode(self.body)
        document["model"] = self.request.model
        for position, channel, text in self._writes:
            chunks.put(document["choices"][position], channel, text)
            document["choices"][position].pop("logprobs", None)
        for position in self._cut_choices:
            document["choices"][position]["finish_reason"] = "content_filter"
            document["choices"][position].get("message", {}).pop("tool_calls", None)
        if missing_content:  # Dify reads message["content"] and fails where the key is absent
            for choice in document["choices"]:
                choice["message"].setdefault("content", None)
        if usage is not None and missing_usage:
            prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
            document["usage"] = {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }
        return msgspec.json.encode(document)


def _lacks_content(choice: Choice) -> bool:
    return choice.message is not None and choice.message.content is msgspec.UNSET
