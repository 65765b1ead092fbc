"""What a request carries beside the newest words: system prompt, history, tool results, definitions, documents.

It is scanned and observed. Nobody is refused or struck for it: a person has not just said it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.utterance import newest

FIELDS = ("tools", "functions", "documents", "response_format", "prediction")
"""Fields outside of messages whose words reach the model."""
_NO_WORDS = frozenset({"role", "type", "id", "tool_call_id", "detail", "format", "url", "data"})
"""Keys whose strings are names, kinds or bytes."""
SHORTEST = 2
"""Characters of a text in which a word can stand."""


def surroundings(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield each text of *body* that is not the newest words."""
    messages = body.get("messages")
    if isinstance(messages, Sequence) and not isinstance(messages, str):
        said = newest(messages)
        for place, message in enumerate(messages):
            for name, value in message.items():
                if name not in _NO_WORDS and not (place in said and name == "content"):
                    yield from _strings(value)
    for name in FIELDS:
        yield from _strings(body.get(name))


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings in *value*, however deep (the parser has bounded that)."""
    if isinstance(value, str):
        if len(value) >= SHORTEST:
            yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NO_WORDS:
                yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
