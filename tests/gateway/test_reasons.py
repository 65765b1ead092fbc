"""What is taken for a reason."""

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.reasons import LONGEST_REASON, Reason

REASON: TypeAdapter[str] = TypeAdapter(Reason)
BLANK = [
    "",
    " \t\n",
    "\u200b\u200d\ufeff",  # no width
    "\u2060\u00ad\u180e",  # joiner, soft hyphen, a vowel separator
    "\u3164\u115f\u1160\uffa0",  # fillers of Hangul: letters by their category
    "\u2800",  # the Braille cell without a dot
    "\u3000\u00a0\u2028",  # wide blank, fixed blank, end of a line
    "\ufe0f\u034f",  # marks of nothing
    "\U000e0041\U000e007f",  # tags
]


@pytest.mark.parametrize("text", BLANK, ids=ascii)
def test_what_nobody_can_read_is_no_reason(text: str) -> None:
    """Blanks of all kinds, alone or together."""
    with pytest.raises(ValidationError, match="must not be blank"):
        REASON.validate_python(text)


@pytest.mark.parametrize("text", ["误判", "ticket 17", "\u200bx", "🚫", "?", "ا", " 票 "])
def test_what_can_be_read_is_kept_as_it_is(text: str) -> None:
    """Also with something invisible in it."""
    assert text == REASON.validate_python(text)


@pytest.mark.parametrize("text", ["a\0b", "x" * (LONGEST_REASON + 1)], ids=["nul", "long"])
def test_what_cannot_be_stored_is_refused(text: str) -> None:
    """By every database alike."""
    with pytest.raises(ValidationError):
        REASON.validate_python(text)
