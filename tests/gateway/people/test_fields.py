"""What can be asked about people."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.people.errors import MeasureRefused
from gateway.people.fields import Because, Named, Placement, Suspension
from policies.strikes import UNTIL_LIFTED


@pytest.mark.parametrize(
    "fields", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 2001}, {"reason": "r", "x": 1}]
)
def test_a_reason_is_part_of_everything(fields: dict[str, Any]) -> None:
    """And bounded; nothing unknown comes with it."""
    with pytest.raises(ValidationError):
        Because.model_validate(fields)


@pytest.mark.parametrize("user", ["", "unknown", "x" * 513])
def test_nobody_cannot_be_named(user: str) -> None:
    """Who is nobody for the relay is nobody here."""
    with pytest.raises(ValidationError):
        Named(user=user)


def test_ends() -> None:
    """A ban without an end has none; a suspension says which of the three it means."""
    now = time.time()
    assert Placement(reason="r").end() is None
    assert Placement(reason="r", until=9).end() == 9
    assert Placement(reason="r", hours=2).end() == pytest.approx(now + 7_200, abs=5)
    assert Suspension(reason="r", until_lifted=True).end_ms() == UNTIL_LIFTED
    assert Suspension(reason="r", until=9).end_ms() == 9_000


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "hours"),
        ({"hours": 1, "until": 9}, "until"),
        ({"hours": 1, "until_lifted": True}, "hours"),
    ],
)
def test_what_contradicts_itself_names_the_field(fields: dict[str, Any], named: str) -> None:
    """One of three, not two and not none."""
    with pytest.raises(MeasureRefused) as refused:
        Suspension(reason="r", **fields).end_ms()
    assert (refused.value.field, refused.value.conflict) == (named, False)


@pytest.mark.parametrize(
    "fields", [{"hours": 0}, {"hours": 1e9}, {"hours": float("nan")}, {"until": -1}, {"until": 10**12}]
)
def test_bounds(fields: dict[str, Any]) -> None:
    """No time beyond what a calendar has."""
    with pytest.raises(ValidationError):
        Placement(reason="r", **fields)
