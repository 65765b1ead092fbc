"""Whose words: the newest words of the person, out of all that a request carries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a person has just said."""

    text: str

    @property
    def id(self) -> str:
        """Return a name for these words, the same however often they are sent."""
        return sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


TEXTS = ("text", "refusal", "thinking")
"""Fields of a message part whose value is a text for the model."""


BETWEEN = "。\n"
"""Between texts of which each stands for itself: no term reaches across."""


def newest(messages: Sequence[Mapping[str, Any]]) -> range:
    """Return which messages are a person's newest words: the last of the user's, with those right before it.

    History, system prompt and tool results are not; those stand before an answer, or are nobody's. Where no message
    is the user's, all of them are, for somebody wrote them.
    """
    end = len(messages)
    while end > 0 and messages[end - 1].get("role") != "user":
        end -= 1
    if end == 0:
        return range(len(messages))
    begin = end - 1
    while begin > 0 and messages[begin - 1].get("role") == "user":
        begin -= 1
    return range(begin, end)


def of_messages(messages: Sequence[Mapping[str, Any]]) -> Utterance:
    """Return the text of the `newest` messages.

    An assistant's message that stands last is part of it, for the engine goes on writing it.
    """
    places = newest(messages)
    if len(places) == 1 and isinstance(content := messages[places[0]].get("content"), str):
        said = [content]
    else:
        said = [text for place in places for text in _texts(messages[place].get("content"))]
    if messages[-1].get("role") == "assistant" and len(messages) - 1 not in places:
        said += _texts(messages[-1].get("content"))
    return Utterance(said[0] if len(said) == 1 else "\n".join(said))


def of_input(value: Any) -> Utterance:
    """Return the text of a prompt, an embeddings input or a rerank query: a string, or a list that is no one text."""
    return Utterance(BETWEEN.join(_texts(value)))


def _texts(content: Any) -> Iterator[str]:
    """Yield the text of a message's content in each form that OpenAI knows, or an engine reads as one."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for name in TEXTS:
            yield from _texts(content.get(name))
    elif isinstance(content, Sequence):
        for part in content:
            yield from _texts(part)
