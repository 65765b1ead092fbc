"""What people write to staff, as it comes."""

import json
from typing import Any

import pytest

from gateway.complaints.rules import LONGEST_TEXT, Kind
from gateway.problems import Problem
from gateway.relay import letters
from gateway.relay.letters import AppealLetter, ComplaintLetter

ID = "0123456789abcdef01234567"


def read(shape: type[Any], body: Any) -> Any:
    return letters.read(json.dumps(body).encode(), shape)[0]


def test_an_appeal_is_read() -> None:
    """The longest text fits, escaped as Dify escapes it, and who writes is found as in turns."""
    text = "冤" * LONGEST_TEXT
    letter = read(AppealLetter, {"text": text, "user": "", "safety_identifier": "u1"})
    assert (text, "u1") == (letter.text, letter.named)


def test_a_complaint_is_read() -> None:
    """Its kind is one of a fixed list."""
    letter = read(ComplaintLetter, {"content_id": ID, "kind": "minors"})
    assert (Kind.MINORS, None, None) == (letter.kind, letter.text, letter.contact)


@pytest.mark.parametrize(
    ("shape", "body", "param"),
    [
        (AppealLetter, {}, "text"),
        (AppealLetter, {"text": "x" * (LONGEST_TEXT + 1)}, "text"),
        (AppealLetter, {"text": 1}, "text"),
        (AppealLetter, {"text": "x", "contentid": ID}, "contentid"),
        (ComplaintLetter, {"kind": "illegal"}, "content_id"),
        (ComplaintLetter, {"content_id": ID}, "kind"),
        (ComplaintLetter, {"content_id": "x" * 201, "kind": "false"}, "content_id"),
        (ComplaintLetter, {"content_id": ID, "kind": "boring"}, "kind"),
        (ComplaintLetter, {"content_id": ID, "kind": "false", "contact": "x" * 201}, "contact"),
    ],
)
def test_what_is_wrong_is_named(shape: type[Any], body: Any, param: str) -> None:
    """A 400 names the field; a misspelt one is no silent loss."""
    with pytest.raises(Problem) as caught:
        read(shape, body)
    assert (400, param) == (caught.value.status, caught.value.param)


@pytest.mark.parametrize("kind", [{}, {"kind": "boring"}, {"kind": 1}])
def test_the_kinds_are_named(kind: dict[str, Any]) -> None:
    """Whoever names none, or another, reads which there are."""
    with pytest.raises(Problem, match="illegal, false, infringing, privacy, discrimination, minors, other"):
        read(ComplaintLetter, {"content_id": ID, **kind})


def test_a_large_body_is_not_parsed() -> None:
    """However many commas it has."""
    with pytest.raises(Problem, match="bytes"):
        letters.read(b"[" * (letters.MOST_BYTES + 1), AppealLetter)


@pytest.mark.parametrize("given", [ID, f" {ID}\n", f"chatcmpl-{ID}", f"cmpl-{ID}", f"modr-{ID}"])
def test_a_content_id_is_found_in_every_form(given: str) -> None:
    """As the header has it, and as bodies do."""
    assert letters.content_id(given) == ID


@pytest.mark.parametrize("given", ["x", f"{ID}0", ID.upper(), f"https://chat/{ID}", "\0"])
def test_what_is_no_content_id_is_kept_as_it_was_written(given: str) -> None:
    """A complaint is taken whatever it names."""
    assert letters.content_id(f" {given}\n") == given


def test_no_content_id_is_none() -> None:
    """An appeal may speak of no content."""
    assert (letters.content_id(None), letters.content_id(""), letters.content_id(" ")) == ("", "", "")
