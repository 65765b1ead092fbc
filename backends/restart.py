"""Whether and when an engine that ended is started again. Pure."""

from collections.abc import Sequence

BACK_OFF = (1.0, 2.0, 5.0, 10.0)
"""Seconds before the n-th restart in a row; one more quick end and the replica has failed."""
QUICK_SECONDS = 60.0
"""An engine that was ready for less has crashed quickly."""


class Restarts:
    """Counts quick ends in a row, of one engine since it was asked to run."""

    def __init__(self, back_off: Sequence[float] = BACK_OFF, quick_seconds: float = QUICK_SECONDS) -> None:
        self.back_off = back_off
        self.quick_seconds = quick_seconds
        self.in_a_row = 0
        self.was_ready = False

    def after(self, ready_seconds: float | None) -> float | None:
        """Return the seconds to wait before the next start, or None: give up.

        *ready_seconds*: how long the engine was ready; None: it never was. An engine that was not ready once since it
        was asked for has wrong settings, and whoever asked is told at once.
        """
        self.was_ready = self.was_ready or ready_seconds is not None
        lasted = ready_seconds is not None and ready_seconds >= self.quick_seconds
        self.in_a_row = 1 if lasted else self.in_a_row + 1
        if not self.was_ready or self.in_a_row > len(self.back_off):
            return None
        return self.back_off[self.in_a_row - 1]
