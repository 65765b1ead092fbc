"""JSON that comes in pieces is read as JSON is, however it is cut, and masks keep it JSON."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.json_text import HALF_PAIR, Character, JsonText, masked

ODD = st.lists(st.sampled_from(["\\", "u", "6cd5", "\\u6cd5", "\\ud83d", "\\ude00", '"', '\\"', "\\\\", "法", "d"]))


def read(*pieces: str) -> list[Character]:
    text = JsonText()
    found = [character for piece in pieces for character in text.feed(piece)]
    return found + text.finish()


def said(*pieces: str) -> str:
    return "".join(character.says for character in read(*pieces))


@given(st.text(), st.booleans())
def test_what_is_said_is_what_a_parser_reads(text: str, ascii_only: bool) -> None:
    """All escapes that JSON knows, pairs of surrogates too."""
    spelled = json.dumps(text, ensure_ascii=ascii_only)
    assert f'"{text}"' == said(spelled)


@given(ODD.map("".join), st.lists(st.integers(1, 60)))
def test_no_cut_changes_what_is_said(text: str, cuts: list[int]) -> None:
    """However odd the text is, each of its characters is spelled once and the pieces say what the whole says."""
    places = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    characters = read(*(text[begin:end] for begin, end in pairwise(places)))
    assert read(text) == characters
    assert text == "".join(character.spelled for character in characters)


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("\\u6CD5\\u8f6e", "法轮"),
        ("\\\\u6cd5", "\\u6cd5"),
        ('\\/\\b\\f\\n\\r\\t\\"', '/\b\f\n\r\t"'),
        ("\\ud83d\\ude00", "😀"),
        ("\\ud83d", HALF_PAIR),
        ("\\ud83d法", HALF_PAIR + "法"),
        ("\\ude00\\ud83d", HALF_PAIR * 2),
        ("\\ud83d\\u6cd5", HALF_PAIR + "法"),
        ("\\u6_d5", "\\u6_d5"),
        ("\\U6cd5\\x", "\\U6cd5\\x"),
        ("\\u6c", "\\u6c"),
        ("\\", "\\"),
    ],
)
def test_escapes(spelled: str, says: str) -> None:
    """What is no escape stands for itself."""
    assert says == said(spelled) == said(*spelled)


@pytest.mark.parametrize(
    ("document", "place", "sign", "expected"),
    [
        ('{"a":"法轮"}', slice(6, 8), "*", '{"a":"**"}'),
        ('{"a":"法轮"}', slice(6, 8), '"\\', '{"a":"\\"\\\\"}'),
        ('["法","轮"]', slice(2, 7), "*", '["*","*"]'),
        ('["法","轮"]', slice(2, 7), "[略]", '["[略]",""]'),
        ('["\\"\\\\"]', slice(2, 4), "*", '["**"]'),
        ("[12,-3.5e2]", slice(4, 10), "*", "[12,-1.1e1]"),
        ("[true]", slice(1, 5), "*", "[true]"),
        ("法轮 bad", slice(0, 6), "*", "** ***"),
    ],
)
def test_a_mask_keeps_json_json(document: str, place: slice, sign: str, expected: str) -> None:
    """Quotes, and what stands outside of strings, stay what a parser needs."""
    characters = read(document)
    spelled = [character.spelled for character in characters]
    spelled[place] = masked(characters[place], sign)
    assert expected == "".join(spelled)
