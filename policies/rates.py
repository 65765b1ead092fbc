"""Rate limits, pure: what may be used within a minute, and how many may run at once.

A sliding window over steps (Cloudflare, "How we built rate limiting capable of scaling to millions of domains", 2017,
with sixty steps in place of two, and none of them guessed at): what is used counts for the step in which it was taken,
and until that whole step has left the window. So within any window never more than the limit is given, and what was
used comes back after a window, at most one step later. A token bucket, such as GCRA, would give up to twice its limit
within the window that begins with a full one.

The state server runs the same as a script (`gateway/limits/rate.lua`), which is tested against this; a worker counts
by it itself while the state server is away.
"""

from collections.abc import Sequence
from typing import NamedTuple

WINDOW_MS = 60_000
STEP_MS = 1_000
PLACE_MS = 30_000
"""After which a place is free that nobody has renewed: the worker that had it is gone."""


class Span(NamedTuple):
    """The window of a rate and its steps, in milliseconds; and how long a place is kept."""

    window: int = WINDOW_MS
    step: int = STEP_MS
    place: int = PLACE_MS


class Charge(NamedTuple):
    """What is taken of one limit: an *amount* of a window or, where *place* has a name, one of so many places."""

    key: str
    limit: int
    amount: int = 1
    """At most *limit*: more could never be taken."""
    place: str = ""
    """One that nobody has: each turn has a name of its own."""


class Grant(NamedTuple):
    """What came of taking several charges at once: all were taken, or none."""

    at: int
    """Unix milliseconds."""
    refused: int
    """Index of the charge that has to wait longest, of those that did not fit; -1: all were taken."""
    wait: int
    """Milliseconds after which that one fits, where nobody else takes anything; 0: it is not known (places)."""
    used: tuple[int, ...]
    """Of each limit, this included where it was taken."""


class Book:
    """All that is used, by key."""

    def __init__(self, span: Span = Span()) -> None:  # noqa: B008 - it cannot be changed
        self.span = span
        self.windows: dict[str, dict[int, int]] = {}
        """Amounts by number of the step."""
        self.places: dict[str, dict[str, int]] = {}
        """Ends (Unix ms) by name."""

    def take(self, charges: Sequence[Charge], now: int) -> Grant:
        """Take all of *charges* at *now* (Unix ms), or none of them."""
        used: list[int] = []
        refused, longest = -1, 0
        for i, charge in enumerate(charges):
            used.append(self.used(charge, now))
            if used[i] + charge.amount > charge.limit:
                wait = 0 if charge.place else self._wait(charge, used[i], now)
                if refused < 0 or wait > longest:
                    refused, longest = i, wait
        if refused >= 0:
            return Grant(now, refused, longest, tuple(used))
        for i, charge in enumerate(charges):
            used[i] += charge.amount
            if charge.place:
                self.renew(charge.key, charge.place, now)
            else:
                steps, step = self.windows.setdefault(charge.key, {}), now // self.span.step
                steps[step] = steps.get(step, 0) + charge.amount
        return Grant(now, -1, 0, tuple(used))

    def give(self, key: str, amount: int, at: int, now: int) -> None:
        """Give back *amount* of what was taken at *at*; where it is negative, so much more was used by *now*."""
        steps = self.windows.setdefault(key, {})
        step = (now if amount < 0 else at) // self.span.step
        if amount < 0 or step in steps:
            steps[step] = max(0, steps.get(step, 0) - amount)

    def renew(self, key: str, place: str, now: int) -> None:
        """Keep a place from *now* on; one that was lost with the state is there again."""
        self.places.setdefault(key, {})[place] = now + self.span.place

    def leave(self, key: str, place: str) -> None:
        """Free a place."""
        self.places.get(key, {}).pop(place, None)

    def used(self, charge: Charge, now: int) -> int:
        """Return what is used of a limit at *now*; what no longer counts is forgotten."""
        if charge.place:
            taken = {name: end for name, end in self.places.get(charge.key, {}).items() if end > now}
            self.places[charge.key] = taken
            return len(taken)
        steps = self.windows.get(charge.key, {})
        steps = {step: amount for step, amount in steps.items() if self._leaves(step) > now}
        self.windows[charge.key] = steps
        return sum(steps.values())

    def forget(self, now: int) -> None:
        """Let go of whatever no longer counts at *now*."""
        self.windows = {
            key: steps for key, steps in self.windows.items() if any(self._leaves(step) > now for step in steps)
        }
        self.places = {key: ends for key, ends in self.places.items() if any(end > now for end in ends.values())}

    def _leaves(self, step: int) -> int:
        """Return the moment from which on *step* does not count."""
        return (step + 1) * self.span.step + self.span.window

    def _wait(self, charge: Charge, used: int, now: int) -> int:
        """Return after how many milliseconds enough has left the window."""
        over = used + charge.amount - charge.limit
        for step, amount in sorted(self.windows[charge.key].items()):
            over -= amount
            if over <= 0:
                return self._leaves(step) - now
        return self.span.window
