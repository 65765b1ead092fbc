"""Other alphabets: what is read of them in one piece, with something glued to it, and scattered."""

import base64

import pytest

from keywords.encodings import AT_ONCE, payloads

SAYING = "法轮功是什么"
CODES = {
    "hex": lambda data: data.hex(),
    "base64": lambda data: base64.b64encode(data).decode(),
    "base32": lambda data: base64.b32encode(data).decode(),
    "base85": lambda data: base64.b85encode(data).decode(),
}


def read(text: str) -> list[str]:
    return [plain for _, plain in payloads(text) if plain]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("code", CODES)
def test_each_alphabet_in_each_encoding(code: str, encoding: str) -> None:
    assert SAYING in read(CODES[code](SAYING.encode(encoding)))


@pytest.mark.parametrize("code", ["hex", "base64", "base32"])
@pytest.mark.parametrize("glued", ["A", "AB", "ABC"])
def test_what_is_glued_in_front_hides_nothing(code: str, glued: str) -> None:
    assert any(SAYING in plain for plain in read(glued + CODES[code](SAYING.encode())))


@pytest.mark.parametrize("code", ["base32", "base85"])
def test_long_codes_are_read_through(code: str) -> None:
    """They are read in parts, of which none tears a group."""
    text = "无害的话，" * AT_ONCE + SAYING
    assert any(plain.endswith(SAYING) for plain in read(CODES[code](text.encode())))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 19])
@pytest.mark.parametrize("between", [" ", "\n", " - ", "、", "和"])
@pytest.mark.parametrize("code", ["hex", "base64"])
def test_scattered_signs_are_put_together(code: str, between: str, width: int) -> None:
    signs = CODES[code](SAYING.encode())
    text = between.join(signs[start : start + width] for start in range(0, len(signs), width))
    assert any(SAYING in plain for plain in read(f"See no. 7: {text}"))


def test_ideographs_beside_a_code_are_of_its_word() -> None:
    assert ["法轮功呢"] == read("法" + CODES["base64"]("轮功".encode()) + "呢。")


def test_nothing_is_said_twice() -> None:
    """What lines say each for itself is not said again as scattered signs."""
    lines = "\n".join(CODES["base64"](f"a harmless line, number {number:04}".encode()) for number in range(20))
    assert sum(map(len, read(lines))) <= len(lines)
