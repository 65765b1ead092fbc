"""Payloads: what they say, how deep, how many, how long it takes."""

import base64
import html
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.decoding import MOST_CHARACTERS, MOST_PAYLOADS, decoded

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
    for _ in range(5):
        text = base64.b64encode(text.encode()).decode()
    assert [code.count("+") for code, _ in payloads(text)] == [0, 1, 2]


def test_number_and_size_are_bounded() -> None:
    assert len(payloads(f"{B64} " * 1000)) == MOST_PAYLOADS
    huge = base64.b64encode(("无害的话" * 200_000).encode()).decode()
    assert sum(len(plain) for _, plain in payloads(huge)) <= MOST_CHARACTERS


HOSTILE = [
    "A" * MB, "Aa1" * (MB // 3), "0" * MB, "01" * (MB // 2), "f" * MB, "ab " * (MB // 3), "\\x" * (MB // 2), "0x" * (MB // 2),
    "%" * MB, "%41" * (MB // 3), "%E6" * (MB // 3), "&#" * (MB // 2), "&amp;" * (MB // 5), "&#x6cd5;" * (MB // 8),
    "\\u" * (MB // 2), "\\u6cd5" * (MB // 6), "\\ud83d" * (MB // 6), "U+" * (MB // 2), ("Aa" * 40 + "\n") * (MB // 81),
    "Abcdefg8 " * (MB // 9), "%41" + " " * 41, ("%41" + " " * 41) * (MB // 44), f"{B64} " * (MB // len(B64)), "ab,-" * (MB // 4),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:9]))
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    began = time.process_time()
    for _ in decoded(text):
        pass
    assert time.process_time() - began < 3


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
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_it_never_raises(text: str) -> None:
    assert all(plain for _, plain in decoded(text))


@given(st.text(alphabet="法轮功色情炸药", min_size=3, max_size=40))
def test_base64_of_any_sentence_is_read(text: str) -> None:
    assert ("base64", text) in payloads(base64.b64encode(text.encode()).decode())
