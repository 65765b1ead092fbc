"""An engine's stream of events in, the client's stream out. Sans-I/O: bytes and verdicts, no socket, no clock.

What the client gets is what Dify's reader needs: LF, one data line a block, ``choices`` in each chunk, exactly one
usage chunk just before the one ``[DONE]``, an error as a chunk of its own without ``choices``.
"""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay import chunks
from gateway.relay.chunks import Choice, Chunk, ModelName
from gateway.relay.documents import decoded
from gateway.relay.fields import Fields
from gateway.relay.replies import engine_problem, event
from gateway.relay.usual import Usual, learn
from policies.flow import Step
from policies.stream_guard import StreamGuard
from policies.verdict import Verdict

DONE = b"data: [DONE]\n\n"
NOTHING = b"null"
"""What llama.cpp begins a stream of several prompts with."""
LESSONS = 8
"""Chunks in a row from which a stream's usual form is learnt in vain before it is given up."""


LABELLED = frozenset({"stop", "length"})
"""Ends of a text; a tool call is none, though some engines end one with ``stop``."""

Writes = dict[str, str]
"""What leaves of one choice in one chunk: channel → text."""


class AnswerStream:
    """The state of one streamed answer.

    `feed` takes the payload of one event and returns bytes for the client. When `cut` is set the answer must end with
    `end_refused`; when `complete` is True it may end with `end`.
    """

    __slots__ = (
        "_called",
        "_last_payload",
        "_lessons",
        "cut",
        "done_seen",
        "expected",
        "fields",
        "finished",
        "finishes",
        "guard",
        "label",
        "name",
        "said",
        "text_chunks",
        "tokens",
        "usage",
        "usual",
    )

    def __init__(self, asked_model: str, choices: int, guard: StreamGuard, label: str = "") -> None:
        self.label = label
        """What is put behind each text that a model has finished (GB 45438-2025), for keys that ask for it."""
        self.name = ModelName(asked_model)
        self.expected = choices
        self.guard = guard
        self.fields = Fields(guard)
        self.finished: set[int] = set()
        self.finishes: list[str] = []
        """Why each choice ended, in the order of their ends."""
        self.done_seen = False
        self.cut: Verdict | None = None
        self.usage: bytes | None = None
        """The engine's usage chunk, or the last chunk that carried usage."""
        self.tokens: chunks.Usage | None = None
        self.text_chunks = 0
        self.said: dict[int, list[str]] = {}
        """What has left of each choice, in order."""
        self._last_payload = b""
        self.usual: Usual | None = None
        """What the last chunk had in common with the next ones, as far as it could be told."""
        self._lessons = LESSONS
        self._called: set[int] = set()
        """Choices that have called a tool."""

    @property
    def complete(self) -> bool:
        """Whether the engine has said all it had to say; what comes after that does not matter any more."""
        return self.done_seen or len(self.finished) >= self.expected

    def feed_event(self, data: bytes) -> bytes | None:
        """Take *data* if it is one whole event with a text and else like those before; return what may leave.

        None: it is not, and nothing has happened; its payload goes to `feed`.
        """
        usual = self.usual
        if usual is None or usual.index in self.finished or not (text := usual.text(data)):
            return None
        self._lessons = LESSONS
        self.text_chunks += 1
        step = self.guard.feed(usual.index, usual.channel, text)
        release = step.release
        if step.cut is None and not step.late:
            if not release:
                return b""
            self.said[usual.index].append(release)
            if release != text:
                return usual.saying(release)
            return data if usual.same else usual.renamed(data)
        writes: Writes = {}
        self._take(step, usual.index, usual.channel, writes)
        if step.cut is not None:
            self.usual = None
        return self._rewritten(data[6:-2], {0: writes})

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
        chunk = _chunk(payload)
        if (kept := self.fields.kept(payload)) is not payload:
            payload, chunk = kept, _chunk(kept)
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
        if not self._lessons or self.cut is not None or chunk.usage is not None:
            return
        if chunk.choices and len(chunk.choices) == 1 and chunk.choices[0].logprobs is None:
            self._lessons -= 1
            self.usual = learn(payload, chunk.choices[0], self.name, chunk.model)
            if self.usual is not None:
                self.said.setdefault(self.usual.index, [])

    def _guarded(self, choices: list[Choice]) -> dict[int, Writes] | None:
        """Ask the guard for each text of a chunk.

        None: all of it leaves as it came. Else what to write of each choice, by its position in the chunk.
        """
        changes: dict[int, Writes] = {}
        changed = False
        for position, choice in enumerate(choices):
            self._check(choice)
            writes = changes[position] = {}
            for channel, text in chunks.texts(choice):
                if "." in channel:
                    self._called.add(choice.index)
                if choice.index in self.finished:
                    raise EngineBroken("The engine went on with an answer that it had finished.")
                self.text_chunks += 1
                step = self.guard.feed(choice.index, channel, text)
                changed = self._take(step, choice.index, channel, writes) or changed or step.release != text
                if step.cut is not None:
                    return changes
            if choice.finish_reason:  # "" in each chunk is some engines' way to say: not yet
                changed = self._finish(choice, writes) or changed
                if self.cut is not None:
                    return changes
            if choice.logprobs is not None:
                changed = changed or not self.guard.allows("".join(writes.values()), *chunks.tokens(choice.logprobs))
        return changes if changed else None

    def _check(self, choice: Choice) -> None:
        if not 0 <= choice.index < self.expected:
            raise EngineBroken(f"The engine sent a choice {choice.index}, of {self.expected} that were asked for.")
        if choice.message is not None:
            raise EngineBroken("The engine sent a whole message in a stream.")

    def _finish(self, choice: Choice, writes: Writes) -> bool:
        """End a choice: its label, and what was held of it; return whether that changes the chunk."""
        changed = False
        labelled = choice.finish_reason in LABELLED and choice.index not in self._called
        if self.label and labelled and self.said.get(choice.index):
            channel = "content" if choice.text is None else "text"
            step = self.guard.feed(choice.index, channel, self.label)
            self._take(step, choice.index, channel, writes)
            changed = True
        if self.cut is None:
            step = self.guard.finish(choice.index)
            changed = self._take(step, choice.index, "", writes) or changed
        if self.cut is None:
            self.finished.add(choice.index)
            self.finishes.append(choice.finish_reason or "")
        return changed

    def _take(self, step: Step, index: int, channel: str, writes: Writes) -> bool:
        """Add what a step lets go to *writes*, and note it; return whether other channels' text is among it."""
        for by, text in (*step.late, (channel, step.release)):
            if text or by == channel != "":
                writes[by] = writes.get(by, "") + text
            if text:
                self.said.setdefault(index, []).append(text)
        self.cut = step.cut
        return bool(step.late) or step.cut is not None

    def _rewritten(self, payload: bytes, changes: dict[int, Writes]) -> bytes:
        """Return the chunk with the texts that may leave; log probabilities would tell the held ones, so they go."""
        document = decoded(payload)
        if "model" in document:
            document["model"] = self.name.asked
        kept = []
        for position, writes in changes.items():
            choice: dict[str, Any] = document["choices"][position]
            for channel, text in writes.items():
                chunks.put(choice, channel, text)
            choice.pop("logprobs", None)
            if self.cut is not None:  # the refusal that follows brings the finish reason
                choice["finish_reason"] = None
            if any(writes.values()) or choice.get("finish_reason") is not None:
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
            self.finishes.append("content_filter")
        return out

    def _made(self, index: int, text: str | None, finish_reason: str | None) -> bytes:
        """Return a chunk of our own in the engine's shape."""
        document = decoded(self._last_payload)
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
            document = decoded(self.usage)
            if document.get("choices") == []:
                return event(self.usage) + DONE
            usage = document["usage"]
        elif self._last_payload:
            document = decoded(self._last_payload)
        if usage is None and counted is not None:
            prompt, completion = counted.prompt_tokens or 0, counted.completion_tokens or 0
            usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        document.update(model=self.name.asked, choices=[], usage=usage)
        return event(msgspec.json.encode(document)) + DONE


def _chunk(payload: bytes) -> Chunk:
    """Return the chunk, or raise what `AnswerStream.feed` raises."""
    try:
        chunk = chunks.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineBroken("The engine sent a stream event that is not an OpenAI chunk.") from error
    if chunk.error is not None:
        raise engine_problem(500, payload)
    return chunk
