"""JSON that an engine sent."""

import pytest

from backends.errors import EngineBroken
from gateway.relay.documents import decoded


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'"\xff"', b"[" * 100_000, b"1e999"])
def test_what_cannot_be_read_is_the_engines_fault(data: bytes) -> None:
    """Whatever the reason, its depth included."""
    with pytest.raises(EngineBroken):
        decoded(data)


def test_what_can_be_read_is_read() -> None:
    """An ordinary document."""
    assert {"a": [1, "二"]} == decoded('{"a": [1, "二"]}'.encode())
