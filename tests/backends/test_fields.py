"""The forms in which a field of a deployment may be written."""

import pytest
from pydantic import TypeAdapter, ValidationError

from backends.fields import Port, port_range

PORT: TypeAdapter[int | str] = TypeAdapter(Port)


@pytest.mark.parametrize(("text", "ports"), [("8003-8003", [8003]), ("65534-65535", [65534, 65535])])
def test_a_range(text: str, ports: list[int]) -> None:
    """First and last port are both in it."""
    assert ports == list(port_range(text))


@pytest.mark.parametrize(
    "text", ["", "-", "8003-", "-8003", "8003-8010-8020", "a-b", "1023-1025", "65535-65536", "²-9"]
)
def test_no_range(text: str) -> None:
    """Whatever is no rising range of ports that a user may take is refused."""
    with pytest.raises(ValueError, match=r"must be a port or a range|must rise"):
        port_range(text)


def test_one_complaint_for_both_forms() -> None:
    """A port that is no number and no range is complained of once."""
    with pytest.raises(ValidationError) as raised:
        PORT.validate_python("80x3")
    assert ["must be a port or a range of them, such as 8003-8010"] == [error["msg"] for error in raised.value.errors()]
