"""An engine's stream of events in, the client's stream out. Sans-I/O: bytes and verdicts, no socket, no clock.

What the client gets is what Dify's reader needs: LF, one data line a block, ``choices`` in each chunk, exactly one
usage chunk just before the one ``[DONE]``, an error as a chunk of its own without ``choices``.
"""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay import chunks
from gateway.relay.chunks import Choice, Chunk, ModelName
from gateway.relay.replies import engine_problem, event
from gateway.relay.usual import Usual, learn
from policies.stream_guard import StreamGuard
from policies.verdict import Verdict

DONE = b"data: [DONE]\n\n"
NOTHING = b"null"
"""What llama.cpp begins a stream of several prompts with."""
LESSONS = 8
"""Chunks in a row from which a stream's usual form is learnt in vain before it is given up."""


class AnswerStream:
    """The state of one streamed answer.

    `feed` takes the payload of one event and returns bytes for the client. When `cut` is set the answer must end with
    `end_refused`; when `complete` is True it may end with `end`.
    """

    __slots__ = (
        "_channel",
        "_last_payload",
        "_lessons",
        "cut",
        "done_seen",
        "expected",
        "finished",
        "guard",
        "name",
        "said",
        "text_chunks",
        "tokens",
        "usage",
        "usual",
    )

    def __init__(self, asked_model: str, choices: int, guard: StreamGuard) -> None:
        self.name = ModelName(asked_model)
        self.expected = choices
        self.guard = guard
        self.finished: set[int] = set()
        self.done_seen = False
        self.cut: Verdict | None = None
        self.usage: bytes | None = None
        """The engine's usage chunk, or the last chunk that carried usage."""
        self.tokens: chunks.Usage | None = None
        self.text_chunks = 0
        self.said: dict[int, list[str]] = {}
        """What has left of each choice, in order."""
        self._last_payload = b""
        self._channel: dict[int, str] = {}
        self.usual: Usual | None = None
        """What the last chunk had in common with the next ones, as far as it could be told."""
        self._lessons = LESSONS

    @property
    def complete(self) -> bool:
        """Whether the engine has said all it had to say; what comes after that does not matter any more."""
        return self.done_seen or len(self.finished) >= self.expected

    def feed_event(self, data: bytes) -> bytes | None:
        """Take *data* if it is one whole event with a text and else like those before; return what may leave.

        None: it is not, and nothing has happened; its payload goes to `feed`.
        """
        usual = self.usual
        if usual is None or not (text := usual.text(data)):
            return None
        self._lessons = LESSONS
        self.text_chunks += 1
        step = self.guard.feed(usual.index, usual.channel, text)
        if step.release == text and step.cut is None:
            self.said[usual.index].append(text)
            return data if usual.same else usual.renamed(data)
        self._note(usual.index, step.release)
        self.cut = step.cut
        if step.cut is not None:
            self.usual = None
        return self._rewritten(data[6:-2], {0: [(usual.channel, step.release)]})

    def feed(self, payload: bytes) -> bytes:
        """Take one event's payload and return what may leave.

        Raises `EngineBroken` for what is no chunk, and `Problem` for an error that the engine reports.
        """
        if self.done_seen or self.cut is not None:
            return b""
        out = self.feed_event(event(payload))
        return self._feed_unusual(payload) if out is None else out

    def _feed_unusual(self, payload: bytes) -> bytes:
        if payload == b"[DONE]":
            self.done_seen, self.usual = True, None
            return b""
        if payload == NOTHING:
            return b""
        if b"\n" in payload:  # several data lines; between JSON tokens a blank says the same
            payload = payload.replace(b"\n", b" ")
        chunk = _decoded(payload)
        if chunk.usage is not None:
            self.usage, self.tokens = self.name.restore(payload, chunk.model), chunk.usage
        if not chunk.choices:
            return b""
        self._last_payload = payload
        changes = self._guarded(chunk.choices)
        self._learn(payload, chunk)
        if changes is None:
            return event(self.name.restore(payload, chunk.model))
        return self._rewritten(payload, changes)

    def _learn(self, payload: bytes, chunk: Chunk) -> None:
        """Learn from a chunk what the next ones will probably look like."""
        self.usual = None
        if self._lessons and self.cut is None and chunk.usage is None and chunk.choices and len(chunk.choices) == 1:
            self._lessons -= 1
            self.usual = learn(payload, chunk.choices[0], self.name, chunk.model)
            if self.usual is not None:
                self.said.setdefault(self.usual.index, [])

    def _guarded(self, choices: list[Choice]) -> dict[int, list[tuple[str, str]]] | None:
        """Ask the guard for each text of a chunk.

        None: all of it leaves as it came. Else (channel, text) to write, for each position in the chunk.
        """
        changes: dict[int, list[tuple[str, str]]] = {}
        changed = False
        for position, choice in enumerate(choices):
            writes = changes[position] = []
            for channel, text in chunks.texts(choice):
                self.text_chunks += 1
                self._channel[choice.index] = channel
                step = self.guard.feed(choice.index, channel, text)
                changed = changed or step.release != text
                self._note(choice.index, step.release)
                writes.append((channel, step.release))
                if step.cut is not None:
                    self.cut = step.cut
                    return changes
            if choice.finish_reason is not None:
                changed = self._finish(choice.index, writes) or changed
                if self.cut is not None:
                    return changes
        return changes if changed else None

    def _finish(self, index: int, writes: list[tuple[str, str]]) -> bool:
        """End a choice; return whether held text was added to *writes*."""
        step = self.guard.finish(index)
        self.cut = step.cut
        if step.cut is None:
            self.finished.add(index)
        if not step.release:
            return False
        channel = self._channel.get(index, "content")
        self._note(index, step.release)
        for i, (written, text) in enumerate(writes):
            if written == channel:
                writes[i] = (channel, text + step.release)
                return True
        writes.append((channel, step.release))
        return True

    def _note(self, index: int, text: str) -> None:
        if text:
            self.said.setdefault(index, []).append(text)

    def _rewritten(self, payload: bytes, changes: dict[int, list[tuple[str, str]]]) -> bytes:
        """Return the chunk with the texts that may leave; log probabilities would tell the held ones, so they go."""
        document = msgspec.json.decode(payload)
        document["model"] = self.name.asked
        kept = []
        for position, writes in changes.items():
            choice: dict[str, Any] = document["choices"][position]
            for channel, text in writes:
                chunks.put(choice, channel, text)
            choice.pop("logprobs", None)
            if self.cut is not None:  # the refusal that follows brings the finish reason
                choice["finish_reason"] = None
            if any(text for _, text in writes) or choice.get("finish_reason") is not None:
                kept.append(choice)
        document["choices"] = kept
        return event(msgspec.json.encode(document)) if kept else b""

    def refused(self, text: str) -> bytes:
        """Return the chunks that end each open choice with *text* after a cut; an open ``<think>`` is closed first.

        Dify swallows a whole answer, refusal included, whose ``<think>`` never ends.
        """
        out = b""
        for index in range(self.expected):
            if index in self.finished:
                continue
            said = "".join(self.said.get(index, ()))
            closing = "</think>\n\n" if said.rfind("<think>") > said.rfind("</think>") else ""
            out += self._made(index, closing + text, None) + self._made(index, None, "content_filter")
            self.finished.add(index)
        return out

    def _made(self, index: int, text: str | None, finish_reason: str | None) -> bytes:
        """Return a chunk of our own in the engine's shape."""
        document = msgspec.json.decode(self._last_payload)
        choice: dict[str, Any] = {"index": index, "finish_reason": finish_reason}
        if "text" in document["choices"][0]:
            choice["text"] = text or ""
        else:
            choice["delta"] = {} if text is None else {"content": text}
        document.pop("usage", None)
        document.update(model=self.name.asked, choices=[choice])
        return event(msgspec.json.encode(document))

    def end(self, counted: chunks.Usage | None) -> bytes:
        """Return the usage chunk and ``[DONE]``; *counted* is used where the engine has reported none."""
        usage: dict[str, Any] | None = None
        document: dict[str, Any] = {}
        if self.usage is not None:
            document = msgspec.json.decode(self.usage)
            if document.get("choices") == []:
                return event(self.usage) + DONE
            usage = document["usage"]
        elif self._last_payload:
            document = msgspec.json.decode(self._last_payload)
        if usage is None and counted is not None:
            prompt, completion = counted.prompt_tokens or 0, counted.completion_tokens or 0
            usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        document.update(model=self.name.asked, choices=[], usage=usage)
        return event(msgspec.json.encode(document)) + DONE


def _decoded(payload: bytes) -> Chunk:
    """Return the chunk, or raise what `AnswerStream.feed` raises."""
    try:
        chunk = chunks.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineBroken("The engine sent a stream event that is not an OpenAI chunk.") from error
    if chunk.error is not None:
        raise engine_problem(500, payload)
    return chunk
