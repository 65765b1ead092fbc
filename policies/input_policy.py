"""The order of an input's stages. None is in place yet: `Open` lets every utterance pass."""

from typing import Protocol

from policies.utterance import Utterance
from policies.verdict import CLEAN, Verdict


class InputPolicy(Protocol):
    """Decides on what a person says, before any engine is asked for an answer."""

    def local(self, utterance: Utterance) -> Verdict:
        """Return the verdict of the stages inside this process, in microseconds; `Verdict.open` asks for `judge`."""

    async def judge(self, utterance: Utterance) -> Verdict:
        """Return the final verdict of the model-based judge. May be cancelled."""


class Open:
    """Lets everything pass."""

    def local(self, utterance: Utterance) -> Verdict:
        del utterance
        return CLEAN

    async def judge(self, utterance: Utterance) -> Verdict:
        del utterance
        return CLEAN
