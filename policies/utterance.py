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


NOTHING = Utterance("")


def of_messages(messages: Sequence[Mapping[str, Any]]) -> Utterance:
    """Return the text of the last user message: history, system prompt and tool results are not the person's words."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return Utterance("\n".join(_texts(message.get("content"))))
    return NOTHING


def of_input(value: Any) -> Utterance:
    """Return the text of a prompt, an embeddings input or a rerank query: a string or a list of strings."""
    return Utterance("\n".join(_texts(value)))


def _texts(content: Any) -> Iterator[str]:
    """Yield the text of a message's content in each form that OpenAI knows."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, Mapping) and isinstance(text := part.get("text"), str):
                yield text
