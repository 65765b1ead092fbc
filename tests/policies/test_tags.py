"""Tags are one sign each, and what is none stays as it stands, however a text is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.context import Term
from keywords.entry import Action, Entry
from keywords.words import Words
from policies.json_text import TAG, Character
from policies.tags import LIMIT, NO_WORDS, Tags

WORDS = Words([Term(Entry(id=1, term=term, risk="A1d", action=Action.BLOCK)) for term in ("炸弹", "bomb")])
ODD = st.lists(
    st.sampled_from([*"<>/= \"'!-?bx法\n", "<b>", "</think>", "<!--", "-->", "<b x", "bomb", "a" * (LIMIT - 9)])
)


def characters(text: str) -> list[Character]:
    return [Character(sign, sign, inside=False) for sign in text]


def read(tags: Tags, *pieces: str) -> list[Character]:
    found = [character for piece in pieces for character in tags.read(characters(piece))]
    return found + tags.read([], last=True)


def said(tags: Tags, *pieces: str) -> str:
    return "".join(character.says for character in read(tags, *pieces))


@given(ODD.map("".join), st.lists(st.integers(1, 400)), st.booleans())
def test_no_cut_changes_what_is_said(text: str, cuts: list[int], in_json: bool) -> None:
    """And each character is spelled once."""
    places = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    found = read(Tags(WORDS, in_json=in_json), *(text[begin:end] for begin, end in pairwise(places)))
    assert read(Tags(WORDS, in_json=in_json), text) == found
    assert text == "".join(character.spelled for character in found)


@pytest.mark.parametrize(
    "tag",
    [
        "<b>",
        "</b>",
        "<br/>",
        "<br />",
        "</p >",
        "<think>",
        "<String>",
        "<my-part.x:y>",
        "<a href=https://x/y?z title='a > b' hidden>",
        '<span style="color: red"class="好">',
        '<b\n  title = "a <b> c">',
        "<!-- 好 > <b> -->",
        "<!DOCTYPE html>",
        '<?xml version="1.0"?>',
    ],
)
def test_a_tag_is_one_sign(tag: str) -> None:
    assert f"紫{TAG}色" == said(Tags(), f"紫{tag}色") == said(Tags(), *f"紫{tag}色")


@pytest.mark.parametrize(
    "text",
    [
        "a < b > c",
        "a<b 则 c>d",
        "if (a<b && c>d)",
        "for (i=0; i<n; i++) {} >",
        "<3 >",
        "<<",
        "</>",
        "< b>",
        "<好>",
        "<b title='>",
        "<b <i",
        "<|end|>",
        "<",
        f'<b title="{"x" * LIMIT}">',
    ],
)
def test_what_is_no_tag_stands_for_itself(text: str) -> None:
    assert text == said(Tags(), text) == said(Tags(), *text)


@pytest.mark.parametrize("tag", ["<bomb>", '<a title="炸弹">', "<!-- 炸 弹 -->"])
def test_a_tag_in_which_a_word_stands_is_read_as_it_stands(tag: str) -> None:
    """So that the word is found; other libraries see a tag."""
    assert tag == said(Tags(WORDS), tag)
    assert TAG == said(Tags(NO_WORDS), tag)
    assert TAG == said(Tags(WORDS), "<bombay>")


def test_what_may_become_a_tag_is_held_no_longer_than_it_may() -> None:
    """A comparison is decided by what stands behind it, and the longest tag by its length."""
    for text, held in (
        ("a<", "<"),
        ("a<b", "<b"),
        ("a<b ", "<b "),
        ("a<b 则", ""),
        ("a<b,", ""),
        ("a<b c<d", "<d"),
        ("a<b>c", ""),
        ("<!", "<!"),
        ("<!-- 好", "<!-- 好"),
        ("<b x=", "<b x="),
        ("<b x='好 ", "<b x='好 "),
        (f"<b x='{'好' * (LIMIT - 7)}", f"<b x='{'好' * (LIMIT - 7)}"),
        (f"<b x='{'好' * (LIMIT - 6)}", ""),
    ):
        tags = Tags()
        for sign in text:
            tags.read(characters(sign))
        assert held == "".join(one.spelled for one in tags.begun)


def test_no_tag_reaches_across_the_strings_of_json() -> None:
    """A quote that a string's text has is another one than that at its end."""
    text = [Character("<", "<", inside=True), *characters("b x='"), Character('"', '"', inside=True), *characters("'>")]
    assert "<b x='\"'>" == "".join(one.says for one in Tags(in_json=True).read(list(text)))
    text[6] = Character('"', '\\"', inside=True)
    assert [Character(TAG, "<b x='\\\"'>", inside=True)] == Tags(in_json=True).read(text)
