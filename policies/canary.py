"""A version of the keyword library that only counts, beside the one that decides."""

from collections.abc import Callable, Iterable

from keywords.entry import Direction
from keywords.library import Hit, Library
from policies.input_policy import InputPolicy, Keywords, Look
from policies.utterance import Utterance
from policies.verdict import Action, Verdict


class Beside:
    """Decides as *policy* does, and tells *count* each time what the canary would have made of it, if there is one."""

    def __init__(
        self, policy: InputPolicy, canary: Callable[[], Library | None], count: Callable[[Action, Action], None]
    ) -> None:
        self.policy = policy
        self.canary = canary
        self.count = count

    def local(self, utterance: Utterance, look: Look = Look.ALL) -> Verdict:
        verdict = self.policy.local(utterance, look)
        library = self.canary()
        if library is not None:
            self.count(verdict.action, Keywords(lambda: library).local(utterance, look).action)
        return verdict

    async def judge(self, utterance: Utterance) -> Verdict:
        return await self.policy.judge(utterance)

    @property
    def observes(self) -> bool:
        return self.policy.observes

    def observe(self, texts: Iterable[str], direction: Direction) -> list[Hit]:
        return self.policy.observe(texts, direction)
