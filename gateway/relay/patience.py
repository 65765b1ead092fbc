"""How long an engine may be silent. Pure arithmetic; the turn does the waiting."""

from backends.errors import EngineTimeout


class Patience:
    """Silence allowed before the first bytes and between later ones, and the time of the next ping, in seconds."""

    def __init__(self, *, first: float, idle: float, ping: float) -> None:
        self.limit = first
        self.idle = idle
        self.ping = ping
        self.silent = 0.0

    def next_wait(self) -> float:
        """Return how long to wait now."""
        return max(0.0, min(self.ping, self.limit - self.silent))

    def waited(self, seconds: float) -> None:
        """Note *seconds* in which nothing came. Raises `EngineTimeout` when it was too long."""
        self.silent += seconds
        if self.silent >= self.limit:
            raise EngineTimeout(f"The engine was silent for {self.limit:g} s.")

    def heard(self) -> None:
        """Note that something came."""
        self.silent = 0.0
        self.limit = self.idle
