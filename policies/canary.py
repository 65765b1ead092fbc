"""A version of the keyword library that only counts, beside the one that decides."""

from collections.abc import Callable, Iterable, Sequence

from keywords.entry import Action as Asked
from keywords.entry import Direction
from keywords.library import Hit, Library
from keywords.matcher import Flood
from policies import keyword_policy
from policies.input_policy import InputPolicy, Keywords, Look
from policies.keyword_policy import Where
from policies.utterance import Utterance
from policies.verdict import Action, Verdict

CountVerdicts = Callable[[Where, Action, Action], None]
"""Is told where, what the live version decided, and what the canary would have."""


class Beside:
    """Decides as *policy* does, and tells *count* each time what the canary would have made of it, if there is one.

    In questions each look is counted, in answers each text that is observed: what the engine wrote, cut or not.
    """

    def __init__(self, policy: InputPolicy, canary: Callable[[], Library | None], count: CountVerdicts) -> None:
        self.policy = policy
        self.canary = canary
        self.count = count

    def local(self, utterance: Utterance, look: Look = Look.ALL) -> Verdict:
        verdict = self.policy.local(utterance, look)
        library = self.canary()
        if library is not None:
            other = Keywords(lambda: library).local(utterance, look)
            self.count(Where.QUESTION, verdict.action, other.action)
        return verdict

    async def judge(self, utterance: Utterance) -> Verdict:
        return await self.policy.judge(utterance)

    @property
    def observes(self) -> bool:
        return self.policy.observes or self.canary() is not None

    def observe(self, texts: Iterable[str], direction: Direction) -> list[Hit]:
        library = self.canary()
        if library is None or direction is Direction.IN:
            return self.policy.observe(texts, direction)
        found: list[Hit] = []
        for text in texts:
            hits = self.policy.observe((text,), direction)
            self.count(Where.ANSWER, _of_answer(hits), _of_answer(_found(library, text)))
            found += hits
        return found


def _found(library: Library, text: str) -> Sequence[Hit]:
    try:
        return library.find(text, Direction.OUT)
    except Flood:  # an answer is cut at its first word that blocks, and such a text has been counted as one of them
        return ()


def _of_answer(hits: Sequence[Hit]) -> Action:
    """Return what becomes of an answer with *hits*: it is cut where one of them blocks."""
    return keyword_policy.verdict([hit for hit in hits if hit.entry.action is Asked.BLOCK], judged=False).action
