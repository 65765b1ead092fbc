"""Why something is done: the one rule for every reason, by REST and from the shell."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

LONGEST_REASON = 2_000
"""Characters."""
_SEEN = frozenset("LNPS")
"""General categories of what leaves ink: letters, numbers, punctuation, symbols."""
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc\U0001d159")
"""Of these categories by Unicode, and blank: fillers of Hangul, the empty Braille cell, and such."""


def says_something(text: str) -> bool:
    """Return whether there is anything in *text* to be read: not blanks and characters without a width alone."""
    return any(unicodedata.category(sign)[0] in _SEEN and sign not in _UNSEEN for sign in text)


def _said(text: str) -> str:
    if not says_something(text):
        raise PydanticCustomError("blank", "must not be blank: say why, for those who read the log")
    return text


def storable(text: str) -> str:
    """Return *text*, which every database takes. Raises `PydanticCustomError`."""
    if "\0" in text:
        raise PydanticCustomError("nul", "must not have a NUL character")
    return text


Reason = Annotated[str, Field(max_length=LONGEST_REASON), AfterValidator(_said), AfterValidator(storable)]
