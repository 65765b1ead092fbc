"""Payloads: what they say, how deep, that no number or length of them hides one, how long it takes."""

import base64
import html
import random
import re
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.decoding import DEEPEST, decoded, steps
from keywords.plaintext import BETWEEN, PIECE
from keywords.windows import STEP, WINDOW
from tests.timing import cpu_seconds

SAYING = "法轮功是什么"
B64 = base64.b64encode(SAYING.encode()).decode()
MB = 1_000_000


def payloads(text: str) -> list[tuple[str, str]]:
    return [(code, plain) for code, plain in decoded(text) if not code.endswith("rot13")]


@pytest.mark.parametrize(
    ("code", "text", "term"),
    [
        ("base64", B64, SAYING),
        ("base64", f"请解码：{B64}谢谢", SAYING),
        ("base64", B64.rstrip("="), SAYING),
        ("base64", base64.urlsafe_b64encode("??>>轮功~".encode()).decode(), "轮功"),
        ("base64", base64.b64encode(SAYING.encode("gb18030")).decode(), SAYING),
        ("base64", base64.b64encode(b"a bomb").decode(), "bomb"),
        ("base64", base64.encodebytes(("x" + SAYING * 20).encode()).decode(), SAYING * 20),
        ("hex", SAYING.encode().hex(), SAYING),
        ("hex", SAYING.encode().hex(" "), SAYING),
        ("hex", SAYING.encode().hex().upper(), SAYING),
        ("hex", "0x" + SAYING.encode().hex(), SAYING),
        ("hex", " ".join(f"0x{byte:02x}" for byte in SAYING.encode()), SAYING),
        ("hex", "".join(f"\\x{byte:02x}" for byte in SAYING.encode()), SAYING),
        ("hex", SAYING.encode("gbk").hex(), SAYING),
        ("hex", "01100010 01101111 01101101 01100010", "bomb"),
        ("url", urllib.parse.quote(SAYING), SAYING),
        ("url", urllib.parse.quote(SAYING.encode("gbk")), SAYING),
        ("url", "法%E8%BD%AE功", "法轮功"),
        ("url", "f%75ck", "fuck"),
        ("entities", "".join(f"&#x{ord(c):x};" for c in SAYING), SAYING),
        ("entities", "法&#36718;功", "法轮功"),
        ("escapes", "".join(f"\\u{ord(c):04x}" for c in SAYING), SAYING),
        ("escapes", "".join(f"U+{ord(c):04X}" for c in SAYING), SAYING),
        ("escapes", "".join(f"%u{ord(c):04X}" for c in SAYING), SAYING),
        ("escapes", r"\ud83d\udca3", "💣"),
        ("base64+base64", base64.b64encode(B64.encode()).decode(), SAYING),
        ("base64+url", base64.b64encode(urllib.parse.quote(SAYING).encode()).decode(), SAYING),
        ("url+base64", urllib.parse.quote(base64.b64encode(b"a bomb!!").decode()), "bomb"),
        ("entities+entities", html.escape("&#x6cd5;&#x8f6e;"), "法轮"),
    ],
)
def test_a_payload_is_read(code: str, text: str, term: str) -> None:
    assert [plain for name, plain in payloads(text) if name == code and term in plain]


def test_rot13_turns_latin_words_alone() -> None:
    assert ("rot13", "fuck") in list(decoded("shpx"))
    assert ("rot13", "you fuck") in list(decoded("什么是lbh shpx呢"))
    assert list(decoded("今天 ab 天气")) == []


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好，我们去公园散步吧！",
        "The quick brown fox jumps over the lazy dog, international businesses notwithstanding.",
        "13800138000", "2024-10-12 10:30:59", "1234567890123456", "192.168.100.200", "978-7-111-54742-6",
        "550e8400-e29b-41d4-a716-446655440000", "d41d8cd98f00b204e9800998ecf8427e",
        "dQw4w9WgXcQ", "AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "https://www.example.com/some/Path/to/aPage?id=123456&name=value", "getElementsByClassName(document)",
        "AT&T", "100%", "50%的人", "C:\\Users\\Public", "JavaScript TypeScript GraphQL PostgreSQL",
        "deadbeef", "facade decade", "XMLHttpRequest", "/usr/local/lib/python3/site-packages",
    ],
)  # fmt: skip
def test_harmless_neighbours_say_nothing(text: str) -> None:
    assert payloads(text) == []


def test_depth_is_bounded() -> None:
    text = "我们去散步吧我们去散步吧"
    for _ in range(DEEPEST + 2):
        text = base64.b64encode(text.encode()).decode()
    assert [code.count("+") for code, _ in payloads(text)] == [*range(DEEPEST)]


DECOY = "无害的话"
ENCODED: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64, gb18030": lambda text: base64.b64encode(text.encode("gb18030")).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex, signs": lambda text: " ".join(f"0x{byte:02x}" for byte in text.encode()),
    "bits": lambda text: " ".join(f"{byte:08b}" for byte in text.encode()),
    "url": urllib.parse.quote,
    "url, gb18030": lambda text: urllib.parse.quote(text.encode("gb18030")),
    "entities": lambda text: "".join(f"&#x{ord(c):x};" for c in text),
    "escapes": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
}  # fmt: skip
ENCODED_BYTES: dict[str, Callable[[bytes], str]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "hex": bytes.hex,
}


@pytest.mark.parametrize("code", ENCODED)
def test_no_number_of_payloads_hides_the_next(code: str) -> None:
    """A thousand harmless payloads stand before it, and it is read, though no longer than the text in all."""
    text = f"{ENCODED[code](DECOY)}; {'好' * 100}" * 1000 + ENCODED[code](SAYING)
    read = [plain for _, plain in payloads(text)]
    assert any(SAYING in plain for plain in read)
    assert sum(map(len, read)) <= len(text)


@pytest.mark.parametrize("code", ENCODED)
def test_no_length_of_a_payload_hides_its_end(code: str) -> None:
    """Also where a character stands on the border of two pieces."""
    for before in range(4):
        text = "a" * before + DECOY * PIECE + SAYING
        assert any(text in plain for _, plain in payloads(ENCODED[code](text)))


@pytest.mark.parametrize("code", ENCODED)
def test_it_is_read_wherever_it_stands(code: str) -> None:
    """The borders of what is looked through in one go are none for a payload."""
    payload = ENCODED[code](SAYING)
    for before in (0, 1, *range(WINDOW - len(payload) - 2, WINDOW + 2), 3 * WINDOW - 5):
        assert any(SAYING in plain for _, plain in payloads("，" * before + payload + "，" * 500)), before


@pytest.mark.usefixtures("untraced")
def test_a_long_payload_is_read_through_all_its_codes() -> None:
    """Its inner code begins wherever the outer one is cut."""
    text = DECOY * PIECE + SAYING
    for name, outer in ENCODED.items():
        for inner in ("base64", "hex", "url"):
            assert any(text in plain for _, plain in payloads(outer(ENCODED[inner](text)))), (name, inner)


def test_what_is_no_text_hides_no_text() -> None:
    """Bytes at random before and behind are passed over, with the pieces they touch; nothing is made up of them."""
    noise = random.Random(1).randbytes(7 * PIECE)  # noqa: S311 - no secret
    text = (DECOY * PIECE + SAYING + DECOY * PIECE).encode()
    for code in ("base64", "hex"):
        read = payloads(ENCODED_BYTES[code](noise + text + noise))
        assert any(SAYING in plain for _, plain in read)
        assert payloads(ENCODED_BYTES[code](noise)) == []


def test_no_term_reaches_from_one_payload_into_the_next() -> None:
    """Short ones are searched as one text, in which each stands for itself.

    Side by side they may be lines of one code, and are read as that too.
    """
    text = " und ".join(ENCODED["base64"](words) for words in ("我们去法轮", "功夫茶好喝"))
    assert payloads(text) == [("base64", f"我们去法轮{BETWEEN}功夫茶好喝")]


def test_others_get_their_turn() -> None:
    """There is a step within each window, and long payloads are read in several."""
    assert [*steps("好" * 10 * WINDOW)].count(STEP) >= 10
    assert [*steps(ENCODED["base64"]("好" * PIECE * 100))].count(STEP) >= 10


HOSTILE = [
    "A" * MB, "Aa1" * (MB // 3), "0" * MB, "01" * (MB // 2), "f" * MB, "ab " * (MB // 3), "\\x" * (MB // 2), "0x" * (MB // 2),
    "25935 24863 " * (MB // 12), "230 149 143, " * (MB // 13), "\\346\\225" * (MB // 8), "\\x41" * (MB // 4), "=E6=95=8F" * (MB // 9),
    "&#" + "0" * MB, "&#0000000" * (MB // 9), "&notit" * (MB // 6), "&a" * (MB // 2), "\\u{" * (MB // 3), "\\u{" + "0" * MB,
    "ABCDEFGH " * (MB // 9), "MFRGG2LT" * (MB // 8), "<~" * (MB // 2), "9jqo^Bl" * (MB // 7), "z" * MB, "<a" * (MB // 2),
    "\U000e0041" * MB, "\ufe01" * MB, "xn--ab-" * (MB // 7), "Ａ１" * (MB // 2), "5 r O V " * (MB // 8), "e 6 9 5 " * (MB // 8),
    "%" * MB, "%41" * (MB // 3), "%E6" * (MB // 3), "&#" * (MB // 2), "&amp;" * (MB // 5), "&#x6cd5;" * (MB // 8),
    "\\u" * (MB // 2), "\\u6cd5" * (MB // 6), "\\ud83d" * (MB // 6), "U+" * (MB // 2), ("Aa" * 40 + "\n") * (MB // 81),
    "Abcdefg8 " * (MB // 9), "%41" + " " * 41, ("%41" + " " * 41) * (MB // 44), f"{B64} " * (MB // len(B64)), "ab,-" * (MB // 4),
]  # fmt: skip


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:9]))
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    assert cpu_seconds(lambda: [None for _ in decoded(text)], 1.5) < 1.5


NESTED = {
    "url": lambda text: urllib.parse.quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 in groups": lambda text: " ".join(re.findall(".{1,7}", base64.b64encode(text.encode()).decode())),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "entities": lambda text: "".join(f"&#{ord(c)};" for c in text),
}  # fmt: skip


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("code", NESTED)
def test_what_all_depths_say_is_bounded(code: str) -> None:
    """No code within codes says much more than the text has, however it is read at each depth."""
    text = "法轮功 what is it?" * 2000
    for _ in range(DEEPEST + 1):
        text = NESTED[code](text)[:MB]
    assert sum(len(plain) for _, plain in steps(text)) <= 4 * len(text)


PIECES = [
    "%",
    "%E6",
    "&#x6cd5;",
    "&amp;",
    "\\u6cd5",
    "\\x41",
    "0x41",
    "QUJD",
    "5rOV",
    "e6b3",
    "法",
    " ",
    "=",
    "-",
    "\ud800",
    "<~",
    "&#x110000;",
    "\\u{ffffff}",
    "U+d800",
    "xn--",
    "25935 ",
    "\\346",
    "=E6=95",
    "\U000e0041",
    "MFRGG2LT",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_it_never_raises(text: str) -> None:
    assert all(plain for _, plain in decoded(text))


@given(st.text(alphabet="法轮功色情炸药", min_size=3, max_size=40))
def test_base64_of_any_sentence_is_read(text: str) -> None:
    assert ("base64", text) in payloads(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize("glued", ["x/", "data_", "decode/this/", "-", "Q", "abcdef/", "ab", "+"])
def test_what_is_glued_to_a_code_does_not_hide_it(glued: str) -> None:
    """A character more or less in front, and all of it would be read out of step."""
    said = "怎么做某某炸药"
    for code in (base64.b64encode(said.encode()).decode(), base64.b64encode(b"how to make napalm at home").decode()):
        plain = [found for _, found in decoded(glued + code)]
        assert any("某某炸药" in one or "napalm" in one for one in plain)
    for digits in ("a", "decade"):
        assert any("某某炸药" in one for _, one in decoded(digits + said.encode().hex()))
