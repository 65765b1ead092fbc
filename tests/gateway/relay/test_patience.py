import pytest

from backends.errors import EngineTimeout
from gateway.relay.patience import Patience


def test_waits_are_cut_at_pings_and_at_the_limit() -> None:
    """With 40 s to the first token and pings every 15 s, the waits are 15, 15 and 10 s."""
    patience = Patience(first=40, idle=20, ping=15)
    waits = []
    with pytest.raises(EngineTimeout, match="40 s"):
        while True:
            waits.append(patience.next_wait())
            patience.waited(waits[-1])
    assert waits == [15, 15, 10]


def test_after_the_first_bytes_the_idle_limit_counts() -> None:
    """Silence is counted anew after each read, against the idle limit."""
    patience = Patience(first=40, idle=20, ping=15)
    patience.waited(15)
    patience.heard()
    patience.waited(15)
    with pytest.raises(EngineTimeout, match="20 s"):
        patience.waited(5)
