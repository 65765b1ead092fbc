"""When a replica that failed is left alone, and when it is tried again. Pure: moments are arguments.

closed ──3 failures in a row, or nobody listens──▶ open ──its pause is over──▶ half-open ──success──▶ closed
                                                    ▲                             │
                                                    └── a longer pause ◀── failure┘
"""

FAILURES = 3
"""In a row that open it."""
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds without requests after the first opening, the second …; the last one stands for all that follow."""


class Breaker:
    """The breaker of one replica, for one worker.

    Whoever sends a request takes a number from `begin` and brings it back with what came of it. Verdicts on requests
    that began before the last opening are ignored: a replica that dies under a hundred streams has died once.
    """

    __slots__ = ("_openings", "epoch", "failures", "probing", "until")

    def __init__(self) -> None:
        self.epoch = 0
        self.failures = 0
        self.until: float | None = None
        """The moment at which one request may try it again; None: it is closed."""
        self.probing = False
        self._openings = 0

    def allows(self, now: float) -> bool:
        """Return whether a request may be sent: half-open, one at a time."""
        return self.until is None or (now >= self.until and not self.probing)

    def begin(self) -> int:
        """Note that a request is sent; return the number to bring back."""
        self.probing = self.until is not None
        return self.epoch

    def succeeded(self, number: int) -> None:
        """Take that the replica has answered."""
        if number == self.epoch:
            self.failures = self._openings = 0
            self.until, self.probing = None, False

    def failed(self, number: int, now: float, *, dead: bool = False) -> None:
        """Take that it has not; *dead*: nobody listens there, which opens it at once."""
        if number != self.epoch:
            return
        self.failures += 1
        if dead or self.until is not None or self.failures >= FAILURES:
            self.until = now + PAUSES[min(self._openings, len(PAUSES) - 1)]
            self._openings += 1
            self.failures, self.probing = 0, False
            self.epoch += 1

    def renew(self) -> None:
        """Forget everything: another engine listens there now."""
        self.failures = self._openings = 0
        self.until, self.probing = None, False
        self.epoch += 1

    def left(self, number: int) -> None:
        """Take that a request ended without a verdict: its client has gone."""
        if number == self.epoch:
            self.probing = False
