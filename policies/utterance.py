"""Whose words: the newest words of the person, out of all that a request carries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from keywords.folding import KEPT, SQUEEZED
from policies import dify
from policies.dify import Recognised

_MARKS = str.maketrans("", "", "".join(KEPT))
LONGEST_FOLDED = 20_000
"""Characters of words that are named in one spelling, two milliseconds; longer ones, pasted, are named as they are."""


@dataclass(frozen=True)
class Utterance:
    """What a person has just said. All but the text is found out when it is asked for: of few, as most are clean."""

    text: str
    """All of it, templates included: this is what is judged."""
    body: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The request, where the text may be a template of Dify's."""

    @cached_property
    def _recognised(self) -> Recognised | None:
        return dify.recognised(self.text, self.body) if self.body is not None else None

    @cached_property
    def words(self) -> str:
        """What the person has typed: what stands in Dify's template, or the text."""
        found = self._recognised
        return self.text[found.begin : found.end] if found else self.text

    @property
    def own(self) -> "Utterance | None":
        """What the person has typed, as an utterance of its own; None where that is the whole text.

        Where the text is refused and this is not, the person is not to blame.
        """
        return Utterance(self.words) if self._recognised else None

    @property
    def counts(self) -> bool:
        """Whether it may be a strike, or end a row of them; not so a call that Dify makes by itself."""
        return self._recognised is None or self._recognised.template.counts

    @cached_property
    def id(self) -> str:
        """A name for the words, the same whichever call brings them: of letters and digits alone, in one spelling."""
        said = self.words.strip()
        if len(said) <= LONGEST_FOLDED:
            said = said.translate(SQUEEZED).translate(_MARKS) or said
        return sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


NOTHING_SAID = Utterance("")

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


def of_chat(body: Mapping[str, Any]) -> Utterance:
    """Return the text of the `newest` messages of a chat.

    An assistant's message that stands last is part of it, for the engine goes on writing it.
    """
    messages = body["messages"]
    places = newest(messages)
    if len(places) == 1 and isinstance(content := messages[places[0]].get("content"), str):
        said = [content]
    else:
        said = [text for place in places for text in _texts(messages[place].get("content"))]
    if messages[-1].get("role") == "assistant" and len(messages) - 1 not in places:
        said += _texts(messages[-1].get("content"))
    return Utterance(said[0], body) if len(said) == 1 else Utterance("\n".join(said))


def of_completion(body: Mapping[str, Any]) -> Utterance:
    """Return the text of a completion: its prompts, and what stands behind the gap that it fills."""
    said = list(_texts([body["prompt"], body.get("suffix")]))
    return Utterance(said[0], body) if len(said) == 1 else Utterance(BETWEEN.join(said))


def of_input(value: Any) -> Utterance:
    """Return the text of an embeddings input or a rerank query: a string, or a list that is no one text."""
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
