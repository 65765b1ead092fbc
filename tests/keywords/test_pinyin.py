"""Terms by their sound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.pinyin import fits, sounds, syllables


def found(text: str, term: str) -> bool:
    """Return whether *term* sounds anywhere in *text*."""
    parts = syllables(term)
    assert parts is not None
    letters, origin = sounds(text)
    places = [place for place in range(len(letters)) if letters.startswith("".join(parts), place)]
    return any(fits(text, origin, place, parts) for place in places)


@pytest.mark.parametrize(
    "text",
    [
        "法轮功", "发伦功", "发轮公司", "法輪功", "fa轮gong", "falungong", "Fa Lun Gong", "fǎ lún gōng", "fǎlúngōng",
        "ｆａｌｕｎｇｏｎｇ", "fa-lun-gong", "fa1lun2gong1", "什么是falungong呢", "什么是 发·伦·功 呢", "法LUN功",
    ],
)  # fmt: skip
def test_mixed_writing_is_found(text: str) -> None:
    assert found(text, "fa lun gong")
    assert found(text, "法轮功")


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("xfalungongx", "fa lun gong"),
        ("falungongs", "fa lun gong"),
        ("x fa lun gongs", "fa lun gong"),
        ("alpha lung on", "fa lun gong"),
        ("fal ungong", "fa lun gong"),
        ("我发。轮公司", "fa lun gong"),
        ("发————轮————功", "fa lun gong"),
        ("西安门店", "先门店"),
        ("反感觉", "fang an jue"),
        ("今天天气很好", "fa lun gong"),
    ],
)
def test_what_merely_has_the_letters_is_not(text: str, term: str) -> None:
    assert not found(text, term)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("法轮功", ("fa", "lun", "gong")),
        ("fa lun gong", ("fa", "lun", "gong")),
        ("falungong", ("fa", "lun", "gong")),
        ("Fǎlún-gōng", ("fa", "lun", "gong")),
        ("fa轮gong", ("fa", "lun", "gong")),
        ("xi'an", ("xi", "an")),
        ("xian", ("xian",)),
        ("lǜ shi", ("lv", "shi")),
        ("绿", ("lv",)),
        ("hello", None),
        ("法轮功x", None),
        ("法轮功2", None),
        ("法，轮，功", None),
        ("かな", None),
        ("", None),
        ("·", None),
    ],
)
def test_syllables_of_a_term(term: str, expected: tuple[str, ...] | None) -> None:
    assert expected == syllables(term)


def test_each_letter_knows_its_character() -> None:
    assert sounds("发 lun，功!") == ("falungong", [0, 0, 2, 3, 4, 6, 6, 6, 6])


@given(st.text())
def test_any_text_has_sounds(text: str) -> None:
    """Letters alone, in order, each of a character of the text."""
    letters, origin = sounds(text)
    assert len(letters) == len(origin)
    assert all(0 <= index < len(text) for index in origin)
    assert origin == sorted(origin)
    assert not letters or (letters.isascii() and letters.isalpha() and letters.islower())
    syllables(text)
    for place in range(len(letters)):
        fits(text, origin, place, (letters[place:],))
