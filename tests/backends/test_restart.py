"""When an engine is started again."""

import pytest

from backends.restart import Restarts

Ends = list[float | None]


@pytest.mark.parametrize(
    ("ends", "pauses"),
    [
        ([None], [None]),
        ([1.0, 1.0, 1.0, 1.0, 1.0], [1, 2, 5, 10, None]),
        ([1.0, None, None, None, None], [1, 2, 5, 10, None]),
        ([1.0, 1.0, 61.0, 1.0], [1, 2, 1, 2]),
        ([61.0, 61.0, 61.0, 61.0, 61.0, 61.0], [1, 1, 1, 1, 1, 1]),
    ],
    ids=["never ready", "five quick ends", "ready once, then never", "a long run between", "long runs only"],
)
def test_pauses(ends: Ends, pauses: list[int | None]) -> None:
    """Quick ends in a row wait longer each time and give up at the fifth; a long run starts the count anew."""
    restarts = Restarts((1, 2, 5, 10), quick_seconds=60)
    assert [restarts.after(ready) for ready in ends] == pauses
