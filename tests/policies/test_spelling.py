"""Prose and JSON that come in pieces: what is said is the same however they are cut, and nothing of a spelling is lost."""

import html
import tracemalloc
from html.entities import html5
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.context import Term
from keywords.entry import Action, Entry
from keywords.folding import SQUEEZED
from keywords.words import Words
from policies.json_text import HALF_PAIR, TAG, Character
from policies.spelling import Json, Prose, Reader

PARTS = ["\\", "u", "6cd5", "\\u6cd5", "\\ud83d", "\\ude00", "&", "#", "x", "27861", ";", "nbsp", "amp", "法", "d", '"']
MARKUP = ["0" * 40, "<", ">", "b", "/", " ", "='", "<b>", "&lt", "fjlig;", "para", "site"]
ODD = st.lists(st.sampled_from([*PARTS, *MARKUP]))
WORDS = Words([Term(Entry(id=1, term="parasite", risk="A1d", action=Action.BLOCK))])


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
        ("&ltbomb;&amp", "<bomb;&"),
        ("&nbsp法&nbspx&notit;&unknown&copy", "\xa0法\xa0x¬it;&unknown©"),
        ("&fjlig;&#0;&#x8a;&#138;", f"fj{HALF_PAIR}ŠŠ"),
        ("<b>法</b>\\u003cb>&lt;b&gt;", f"{TAG}法{TAG * 2}<b>"),
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


@pytest.mark.parametrize("form", ["法&{};轮", "法&{}轮", "法&{0}轮功&{0}", "x&{}1;", "x&{}=b", "法&{}"])
def test_each_named_entity_says_what_a_browser_shows(form: str) -> None:
    """With its semicolon, and without it where a browser does without; nothing is held behind it."""
    for name in {name.rstrip(";") for name in html5}:
        text = form.format(name)
        assert html.unescape(text) == said(Prose(), text) == said(Prose(), *text)
        reader = Prose()
        reader.feed(text + "轮")
        assert not reader.begun


@given(st.text("0123456789abcdefxX;#&", max_size=60), st.sampled_from(["", "0" * 24, "0" * 999]))
def test_each_number_says_what_a_browser_shows(digits: str, zeros: str) -> None:
    """Of any length, in pieces or whole; numbers of no character are symbols, seen or not."""
    for text in (f"法&#{zeros}{digits}轮", f"法&#x{zeros}{digits}轮"):
        shown = html.unescape(text)
        for pieces in ([text], list(text)):
            assert SQUEEZED.text(shown) == SQUEEZED.text(said(Prose(), *pieces))


@pytest.mark.parametrize("pieces", [["0"] * 20_000, ["0" * 64] * 300, ["1"] * 20_000, ["0" * 777, "1" * 777] * 9])
@pytest.mark.parametrize("begin", ["&#", "&#x"])
def test_of_a_long_number_only_so_much_is_held(begin: str, pieces: list[str]) -> None:
    """A browser reads any number of zeros, and of digits; here two thousand signs are the most, and the rest is text."""
    reader, left, most = Prose(), "", 0
    tracemalloc.start()
    for at, piece in enumerate((begin, *pieces), 1):
        left += "".join(one.spelled for one in reader.feed(piece))
        most = max(most, len(begin + "".join(pieces[: at - 1])) - len(left)) if at % 100 == 0 else most
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (most <= 3_000, taken < 200_000) == (True, True), (most, taken)
    left += "".join(one.spelled for one in reader.finish())
    assert begin + "".join(pieces) == left


def test_an_entity_without_its_end_in_which_a_word_stands_is_read_as_it_stands() -> None:
    """Some clients show one thing, and some the other: the word is found."""
    assert "host&parasite " == said(Prose(WORDS), *"host&parasite ")
    assert "host¶site " == said(Prose(), *"host&parasite ")
    assert "host¶sites " == said(Prose(WORDS), *"host&parasites ")
    assert "¶site" == said(Prose(WORDS), "&para;site")


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


def test_masks_keep_tags() -> None:
    """So that none is left open."""
    for reader in (Prose(), Json()):
        characters = reader.feed("<b>法</b>轮<i>功")
        assert ["<b>", "*", "</b>", "*", "<i>", "*"] == reader.masked(characters, "*")
        assert ["[略]", "</b>", "", "<i>", ""] == reader.masked(characters[1:], "[略]")
