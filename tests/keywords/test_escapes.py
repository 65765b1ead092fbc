"""Characters written as numbers: what each says, alone and beside others."""

import pytest

from keywords.escapes import numbers, styled, unescaped


@pytest.mark.parametrize(
    ("code", "text", "plain"),
    [
        ("escapes", r"\u6cd5abc", "法abc"),
        ("escapes", r"\u{00006cd5}5", "法5"),
        ("escapes", r"\U00006cd5轮", "法轮"),
        ("escapes", "U+6CD5和U+8F6E", "法和轮"),
        ("escapes", r"\6cd5 \8f6e ", "法轮"),
        ("escapes", r"\ud83d\udca3", "💣"),
        ("octets", r"\346\263\225", "法"),
        ("octets", "=E6=B3=\r\n=95", "法"),
        ("entities", "&#0000027861;&#x6CD5", "法法"),
        ("entities", "&eacute;&Eacute", "éÉ"),
        ("url", "%u6cd5%E6%B3%95", "法法"),
        ("tags", "a\U000e0062\U000e0063", "abc"),
        ("markup", "a<b>b</b><!-- x -->c", "abc"),
        ("punycode", f"xn--{'法轮'.encode('punycode').decode()}", "法轮"),
    ],
)
def test_an_escape_says(code: str, text: str, plain: str) -> None:
    read = [*unescaped(text)]
    assert plain in [said for _, said in read]
    assert {code, "escapes"} >= {name for name, said in read if said}


@pytest.mark.parametrize("text", ["R&D", "100%", r"\d+\.\w", "a < b", "U+", r"\u{110000}", "=E6", "&#;", "x=1&y=2"])
def test_what_is_no_escape_says_nothing(text: str) -> None:
    assert [] == [said for _, said in unescaped(text) if said]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("27861 36718", "法轮"),
        ("[27861, 36718, 65]", "法轮A"),
        ("230, 179, 149, 232, 189, 174", "法轮"),
        ("346 263 225 350 275 256", "法轮"),
        ("98 111 109 98", "bomb"),
    ],
)
def test_rows_of_numbers_say(text: str, plain: str) -> None:
    assert plain in [said for _, said in numbers(text)]


@pytest.mark.parametrize("text", ["27861", "2021 27861 2022", "1,000,000", "3.14 27861.5", "10 20 30 40", "138 0013"])
def test_other_numbers_say_nothing(text: str) -> None:
    assert [] == [said for _, said in numbers(text) if said]


def test_letters_in_other_styles_are_plain() -> None:
    """Only where there are many, as a code has."""
    assert [("styles", "是 5rOV6L2u")] == [*styled("是 ５ｒＯＶ６Ｌ𝟐ｕ")]
    assert [] == [*styled("是ＯＫ")]
