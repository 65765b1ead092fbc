"""A whole answer of an engine, as the client gets it. Sans-I/O."""

from collections.abc import Iterator
from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay import chunks
from gateway.relay.chunks import Choice, Chunk, ModelName
from gateway.relay.documents import decoded
from gateway.relay.fields import Fields
from gateway.relay.replies import engine_problem
from gateway.relay.stream import LABELLED
from gateway.relay.wire import CHAT, Request
from policies import refusals
from policies.flow import Step
from policies.stream_guard import StreamGuard
from policies.verdict import Verdict

PIECE = 2_000
"""Characters between two pauses: some 20 ms at worst."""


class WholeAnswer:
    """One whole answer: read once, guarded, and written as the engine's bytes wherever nothing has to change."""

    def __init__(self, request: Request, body: bytes, label: str = "") -> None:
        self.request = request
        self.label = label
        """See `AnswerStream.label`."""
        self.body = body
        try:
            self.chunk: Chunk = chunks.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise EngineBroken("The engine's answer is not an OpenAI answer.") from error
        self.left_out: set[str] = set()
        """Names of fields that did not leave; see `Fields`."""
        self.cut: Verdict | None = None
        self._writes: list[tuple[int, str, str]] = []
        self._cut_choices: set[int] = set()
        self._bare: set[int] = set()
        """Choices whose log probabilities would tell what does not leave."""

    @property
    def choices(self) -> list[Choice]:
        """The answers, none where the route has none."""
        return self.chunk.choices or []

    @property
    def text(self) -> str:
        """All generated text, for counting its tokens."""
        return "".join(text for choice in self.choices for _, text in chunks.texts(choice))

    @property
    def finishes(self) -> list[str]:
        """Why each choice ended, as the client reads it."""
        return [
            "content_filter" if position in self._cut_choices else choice.finish_reason or ""
            for position, choice in enumerate(self.choices)
        ]

    def guarded(self, guard: StreamGuard) -> Iterator[None]:
        """Put each text through *guard*; what changes is written by `encode`. Raises `EngineBroken`.

        Pauses now and then: a long text in markup takes longer than others should wait.
        """
        if self.chunk.error is not None:
            raise engine_problem(500, self.body)
        if not self.choices:
            raise EngineBroken("The engine's answer has no choices.")
        self._keep(Fields(guard))
        for position, choice in enumerate(self.choices):
            if not 0 <= choice.index < self.request.choices:
                raise EngineBroken(f"The engine's answer has a choice {choice.index}, of {self.request.choices}.")
            if (self.request.route is CHAT and choice.message is None) or choice.delta is not None:
                raise EngineBroken("The engine's answer has a choice without a message, or with a piece of one.")
            yield from self._guard_choice(position, choice, guard)

    def _keep(self, fields: Fields) -> None:
        kept = fields.kept(self.body)
        if kept is not self.body:
            self.body, self.chunk = kept, chunks.decode(kept)
            self.left_out = fields.left_out

    def _guard_choice(self, position: int, choice: Choice, guard: StreamGuard) -> Iterator[None]:
        leaves: dict[str, str] = {}
        texts = list(chunks.texts(choice))
        called = any("." in channel for channel, _ in texts)
        if self.label and texts and not called and choice.finish_reason in LABELLED:
            texts.append(("content" if self.request.route is CHAT else "text", self.label))
        pieces = ((channel, text[at : at + PIECE]) for channel, text in texts for at in range(0, len(text), PIECE))
        for channel, piece in pieces:
            step = guard.feed(choice.index, channel, piece)
            if _add(step, channel, leaves):
                break
            if len(piece) == PIECE:
                yield
        else:
            step = guard.finish(choice.index)
            _add(step, "", leaves)
        if step.cut is not None:
            self._cut(position, leaves, step.cut)
        original = dict(chunks.texts(choice))
        for channel, text in original.items():
            if leaves.get(channel, "") != text or step.cut is not None:
                self._writes.append((position, channel, leaves.pop(channel, "")))
        self._writes += [(position, channel, text) for channel, text in leaves.items() if channel not in original]
        if choice.logprobs is not None and not guard.allows(
            "".join(original.values()), *chunks.tokens(choice.logprobs)
        ):
            self._bare.add(position)

    def _cut(self, position: int, leaves: dict[str, str], verdict: Verdict) -> None:
        """End a choice: nothing of what stood behind the cut stays, and the refusal stands in its place."""
        self.cut = verdict
        self._cut_choices.add(position)
        channel = "content" if self.request.route is CHAT else "text"
        leaves[channel] = leaves.get(channel, "") + refusals.cut(verdict)

    def encode(self, usage: chunks.Usage | None) -> bytes:
        """Return the answer under the asked name; *usage* is put in where the engine has reported none."""
        missing_usage = usage is not None and self.chunk.usage is None
        missing_content = self.request.route is CHAT and any(_lacks_content(choice) for choice in self.choices)
        if not (self._writes or self._cut_choices or self._bare or missing_usage or missing_content):
            return ModelName(self.request.model).restore(self.body, self.chunk.model)
        document: dict[str, Any] = decoded(self.body)
        document["model"] = self.request.model
        for position, channel, text in self._writes:
            chunks.put(document["choices"][position], channel, text)
            self._bare.add(position)
        for position in self._bare:
            document["choices"][position].pop("logprobs", None)
        for position in self._cut_choices:
            document["choices"][position]["finish_reason"] = "content_filter"
            for call in ("tool_calls", "function_call"):
                document["choices"][position].get("message", {}).pop(call, None)
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


def _add(step: Step, channel: str, leaves: dict[str, str]) -> bool:
    """Add what a step lets go; return whether it is the last one."""
    for by, text in (*step.late, (channel, step.release)):
        if by:
            leaves[by] = leaves.get(by, "") + text
    return step.cut is not None
