"""What of an engine's answer may leave beside its texts. Sans-I/O; one `Fields` an answer.

Engines send more than they document. So that no word leaves unseen, each string of an answer is one of three: a text,
which the guard has seen (`chunks.texts`); a label, which is short, clear of listed words and the same throughout; or
left out, together with the field that it stands in.
"""

import re
from typing import Any

import msgspec

from gateway.relay import chunks
from gateway.relay.documents import unambiguous
from policies.stream_guard import StreamGuard

LONGEST_LABEL = 256
"""Characters of all the strings of one field; ids of engines have up to 64, a list of sources may have more."""
MOST_NAMES = 256
"""Names of fields in one answer, beside the usual ones."""
MOST_LABELS = 8192
"""In one answer; each of its 128 choices has a role, a reason for its end, and the ids and types of its calls."""
NUMBERS = frozenset({type(None), bool, int, float})
NAME = re.compile(r"[A-Za-z0-9_.$:-]{1,64}")

TEXTS = frozenset({"content", "reasoning_content", "reasoning", "thinking", "refusal"})
"""Of a message. What stands there is a string or null, or it is no chunk."""
FUNCTION = frozenset({"name", "arguments"})
CALLED = {"function": FUNCTION, "custom": frozenset({"name", "input"})}
CALL_LABELS = frozenset({"id", "type"})
ELSEWHERE = frozenset({"choices", "model", "error"})
"""Of the document: the answers, the name that is exchanged, and what is no answer."""
OF_CHOICE = frozenset({"index", "delta", "message", "text", "logprobs"})
"""Texts, and what stands beside exactly the text that it spells."""
USUAL_NAMES = frozenset(
    [
        "id",
        "object",
        "created",
        "system_fingerprint",
        "service_tier",
        "usage",
        "timings",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        "reasoning_tokens",
        "finish_reason",
        "stop_reason",
        "role",
        "prompt_n",
        "prompt_ms",
        "prompt_per_token_ms",
        "prompt_per_second",
        "predicted_n",
        "predicted_ms",
        "predicted_per_token_ms",
        "predicted_per_second",
        "cache_n",
        "prompt_logprobs",
        "prompt_token_ids",
        "token_ids",
        "kv_transfer_params",
        "annotations",
        "audio",
        "matched_stop",
        "function_call",
        "tool_calls",
    ]
)
USUAL_LABELS = frozenset({"chat.completion.chunk", "chat.completion", "text_completion", "assistant", "function"})
USUAL_LABELS |= {"stop", "length", "tool_calls"}

Place = tuple[int, str]
"""Choice and field; -1 is the document itself."""


class Fields:
    """Leaves out what is neither text nor label, and remembers the labels of one answer."""

    __slots__ = ("_first", "_names", "guard", "left_out")

    def __init__(self, guard: StreamGuard) -> None:
        self.guard = guard
        self.left_out: set[str] = set()
        """Names of fields that did not leave."""
        self._names = set(USUAL_NAMES)
        self._first: dict[Place, tuple[list[str], Any]] = {}
        """The strings of each label, and the whole of it, as they came first."""

    def kept(self, payload: bytes) -> bytes:
        """Return what may leave of a chunk or whole answer that `chunks.decode` takes; *payload* itself if all of it.

        Raises `EngineBroken` for a name that stands twice in one object: which counts differs between parsers.
        """
        document = unambiguous(payload)
        changed = self._labels(document, -1, ELSEWHERE)
        for choice in document.get("choices") or ():
            index = choice.get("index", 0)
            changed |= self._labels(choice, index, OF_CHOICE)
            changed |= self._alternatives(choice)
            for part in ("delta", "message"):
                if message := choice.get(part):
                    changed |= self._message(message, index)
        return msgspec.json.encode(document) if changed else payload

    def _labels(self, owner: dict[str, Any], index: int, besides: frozenset[str]) -> bool:
        changed = False
        for name, value in [*owner.items()]:
            if name not in besides and (type(value) not in NUMBERS or name not in self._names):
                changed |= self._label(owner, name, (index, name))
        return changed

    def _alternatives(self, choice: dict[str, Any]) -> bool:
        """Take away tokens that might have been said instead, where those of several places may spell a word."""
        logprobs = choice.get("logprobs")
        if not logprobs:
            return False
        try:
            return chunks.thin_out(logprobs, lambda token, half: self.guard.harmless(token, half=half))
        except (AttributeError, KeyError, TypeError, ValueError):  # in no shape that is known
            del choice["logprobs"]
            return True

    def _message(self, message: dict[str, Any], index: int) -> bool:
        changed = False
        for name, value in [*message.items()]:
            if name in TEXTS:
                continue
            if name == "role":
                changed |= self._label(message, name, (index, name))
            elif name == "tool_calls" and value:
                for number, call in enumerate(value):
                    changed |= self._call(call, index, call.get("index", number))
            else:
                changed |= self._texts_only(message, name, {"function_call": FUNCTION})
        return changed

    def _call(self, call: dict[str, Any], index: int, number: int) -> bool:
        changed = False
        for name in [*call]:
            if name in CALL_LABELS:
                changed |= self._label(call, name, (index, f"{number}.{name}"))
            elif name != "index":
                changed |= self._texts_only(call, name, CALLED)
        return changed

    def _texts_only(self, owner: dict[str, Any], name: str, called: dict[str, frozenset[str]]) -> bool:
        """Keep a field beside a text where it says nothing; of one that is *called*, its texts too.

        Numbers say nothing, nor do empty values.
        """
        value = owner[name]
        if value and name in called:
            others = [self._texts_only(value, one, {}) for one in [*value] if one not in called[name]]
            return any(others)
        if (isinstance(value, str | list | dict) and value) or not self._is_name(name):
            return self._leave_out(owner, name)
        return False

    def _label(self, owner: dict[str, Any], name: str, place: Place) -> bool:
        """Keep a label as it came first; leave it out where it is none. Return whether that changes *owner*."""
        value, first = owner[name], self._first.get(place)
        if first is not None and first[1] == value:
            return False
        strings: list[str] = []
        if not self._is_name(name) or not self._collect(value, strings):
            return self._leave_out(owner, name)
        if not strings or (first is not None and first[0] == strings):
            return False
        if first is not None:
            owner[name] = first[1]
            return True
        if len(self._first) >= MOST_LABELS or not self._is_label(strings):
            return self._leave_out(owner, name)
        self._first[place] = strings, value
        return False

    def _is_label(self, strings: list[str]) -> bool:
        if USUAL_LABELS.issuperset(strings):
            return True
        return sum(map(len, strings)) <= LONGEST_LABEL and self.guard.allows("", "", strings)

    def _collect(self, value: Any, strings: list[str]) -> bool:
        """Add the strings in *value* to *strings*; return False where it may say something in another way."""
        if isinstance(value, str):
            if value:
                strings.append(value)
            return True
        if isinstance(value, dict):
            return all(self._is_name(name) and self._collect(one, strings) for name, one in value.items())
        if isinstance(value, list):  # of numbers: the ids of tokens, the bytes of a text
            return all(isinstance(one, str | dict) and self._collect(one, strings) for one in value)
        return True

    def _is_name(self, name: str) -> bool:
        if name in self._names:
            return True
        if (
            len(self._names) >= len(USUAL_NAMES) + MOST_NAMES
            or not NAME.fullmatch(name)
            or not self.guard.allows("", "", [name])
        ):
            return False
        self._names.add(name)
        return True

    def _leave_out(self, owner: dict[str, Any], name: str) -> bool:
        del owner[name]
        if len(self.left_out) < MOST_NAMES:
            self.left_out.add(name if self._is_name(name) else "(no name)")
        return True
