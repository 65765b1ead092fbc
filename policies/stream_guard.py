"""What of an answer may leave now, and where it is cut. Sans-I/O; one guard a turn.

`Through` releases everything at once.
"""

from typing import NamedTuple, Protocol

from policies.verdict import Verdict


class Step(NamedTuple):
    """One decision: *release* may leave now; *cut*, where set, ends the answer after it."""

    release: str
    cut: Verdict | None = None


class StreamGuard(Protocol):
    """Judges an answer while it grows.

    A *choice* is the index of one of the n answers. A *channel* is where its text stands in a message: ``content``,
    ``reasoning_content``, ``tool_calls.0.arguments`` … Text that may be the beginning of something forbidden is held
    back: it is missing from `release` and comes with a later step of the same channel, at the latest from `finish`.
    """

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        """Take the next piece of a channel's text."""

    def finish(self, choice: int) -> Step:
        """End a choice; `release` is what was still held of the channel that was fed last."""


class Through:
    """Holds nothing and cuts nothing."""

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        del choice, channel
        return Step(delta)

    def finish(self, choice: int) -> Step:
        del choice
        return NOTHING_HELD


NOTHING_HELD = Step("")
