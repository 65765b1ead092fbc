"""Prose and JSON that come in pieces: what is said is the same however they are cut, and nothing of a spelling is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.json_text import HALF_PAIR, Character
from policies.spelling import Json, Prose, Reader

ODD = st.lists(
    st.sampled_from(
        ["\\", "u", "6cd5", "\\u6cd5", "\\ud83d", "\\ude00", "&", "#", "x", "27861", ";", "nbsp", "amp", "法", "d", '"']
    )
)


def read(reader: Reader, *pieces: str) -> list[Character]:
    found = [character for piece in pieces for character in reader.feed(piece)]
    return found + reader.finish()


def said(reader: Reader, *pieces: str) -> str:
    return "".join(character.says for character in read(reader, *pieces))


@pytest.mark.parametrize("kind", [Prose, Json])
@given(ODD.map("".join), st.lists(st.integers(1, 60)))
def test_no_cut_changes_what_is_said(kind: type[Prose] | type[Json], text: str, cuts: list[int]) -> None:
    """However odd the text is, each of its characters is spelled once, and says one character."""
    places = [0, *sorted({cut for cut in cuts if cut < len(text)}), len(text)]
    characters = read(kind(), *(text[begin:end] for begin, end in pairwise(places)))
    assert read(kind(), text) == characters
    assert text == "".join(character.spelled for character in characters)
    assert all(len(character.says) == 1 for character in characters)


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("\\u6CD5&#27861;&#x6cd5", "法法法"),
        ("\\ud83d\\ude00", "😀"),
        ("&#0000027861;", "法"),
        ("&nbsp;&amp;&lt;&eacute;", "\xa0&<é"),
        ("&ltbomb;&amp", "&ltbomb;&amp"),
        ("\\n\\t\\\\", "\\n\\t\\\\"),
        ("&#xd800;&#99999999;\\ud83d", HALF_PAIR * 3),
        ("R&D & AT&T", "R&D & AT&T"),
        ("\\u6c", "\\u6c"),
    ],
)
def test_prose(spelled: str, says: str) -> None:
    """What is no escape stands for itself."""
    assert says == said(Prose(), spelled) == said(Prose(), *spelled)


@pytest.mark.parametrize(
    ("spelled", "says"),
    [("\\n", "\n"), ("\\\\u6cd5", "法"), ("\\u0026#27861;", "法"), ("\\u005cu6cd5", "法"), ("\\\\n", "\\n")],
)
def test_json_is_read_once_more(spelled: str, says: str) -> None:
    assert says == said(Json(), spelled) == said(Json(), *spelled)


def test_only_what_has_not_been_returned_has_begun() -> None:
    """A text that ends within an escape waits for it; at its end it stands for itself."""
    for reader in (Prose(), Json()):
        assert [] == reader.feed("\\u6c")
        assert reader.begun
        assert "法x" == "".join(character.says for character in reader.feed("d5x"))
        assert not reader.begun


def test_masks_keep_the_number_of_spellings() -> None:
    """One sign for each character, a longer one for all."""
    characters = Prose().feed("法轮功")
    assert ["*", "*", "*"] == Prose().masked(characters, "*")
    assert ["[略]", "", ""] == Prose().masked(characters, "[略]")
    assert ["*", "*", "*"] == Json().masked(characters, "*")
