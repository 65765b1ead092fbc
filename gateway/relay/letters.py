"""What people write to staff: the bodies of `POST /v1/appeals` and `/v1/complaints`."""

import re
from typing import Annotated, Any, TypeVar

import msgspec

from gateway.complaints.rules import LONGEST_CONTACT, LONGEST_CONTENT_ID, LONGEST_TEXT, Kind
from gateway.problems import invalid
from gateway.relay import wire

MOST_BYTES = 65_536
"""Of a body: the longest text five times over, as escaped characters are written."""
_CONTENT_ID = re.compile(r"(?:chatcmpl-|cmpl-|modr-)?([0-9a-f]{24})")
"""As the header X-Content-Id has it, or as the body of a refusal does."""

ContentId = Annotated[str, msgspec.Meta(max_length=LONGEST_CONTENT_ID)]
Words = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]


class Letter(msgspec.Struct, kw_only=True):
    """What both have: who writes."""

    user: str | None = None
    safety_identifier: str | None = None

    @property
    def named(self) -> str | None:
        """The person, as the body calls them."""
        return wire.named(self.user, self.safety_identifier)


class AppealLetter(Letter, kw_only=True):
    """An appeal as it came."""

    text: Words
    content_id: ContentId | None = None


class ComplaintLetter(Letter, kw_only=True):
    """A complaint as it came."""

    content_id: ContentId
    kind: Kind
    text: Words | None = None
    contact: Annotated[str, msgspec.Meta(max_length=LONGEST_CONTACT)] | None = None


L = TypeVar("L", bound=Letter)


def read(raw: bytes, shape: type[L]) -> tuple[L, dict[str, Any]]:
    """Return a letter, and the body that it came in. Raises a 400 `Problem` that names the field."""
    if len(raw) > MOST_BYTES:
        raise invalid(f"The body has more than {MOST_BYTES} bytes.", code="body_too_large")
    body = wire.parse(raw)
    known = shape.__struct_fields__
    if (strange := next((name for name in body if name not in known), None)) is not None:
        raise invalid(f"`{strange}` is not known here; {', '.join(sorted(known))} are.", strange)
    try:
        return msgspec.convert(body, shape), body
    except msgspec.ValidationError as error:
        problem = wire.misshaped(str(error))
        if problem.param == "kind":
            raise invalid(f"`kind` must be one of {', '.join(Kind)}.", "kind") from None
        raise problem from None


def content_id(text: str | None) -> str:
    """Return the content id that is meant; what cannot be one stays as it was written, for staff to read."""
    said = (text or "").strip()
    found = _CONTENT_ID.fullmatch(said)
    return said if found is None else found[1]
