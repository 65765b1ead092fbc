"""Words that travel as something else: base64, hexadecimal, percent signs, entities, escapes, rot13."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DEEPEST = 3
"""Codes within codes."""
MOST_PAYLOADS = 32
MOST_CHARACTERS = 64 * 1024
"""Of all payloads together."""
_AROUND = 40
"""Characters on either side of an escape that are read with it, and between two that are read as one: 法%E8%BD%AE功."""
_FEWEST_BYTES = 4
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}+(?:(?<=[A-Za-z0-9+/_-]{60})\r?\n[A-Za-z0-9+/_-]{4,}+)*+")
"""Lines of at least 60 go on in the next, as in mails. Nothing behind the first run may fail, or it is tried anew."""
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?:[ ,:;-]{0,2}(?:0[xX]|\\[xX])?[0-9A-Fa-f]{2}){3,}+")
_HEX_SIGNS = re.compile(r"0[xX]|[^0-9A-Fa-f]")
_BINARY = re.compile(r"(?:[01]{8}[ ,]?){3,}+")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})++")
_ENTITY = re.compile(r"&(?:#[xX][0-9A-Fa-f]{1,6}|#[0-9]{1,7}|amp|nbsp);?")
_ESCAPE = re.compile(r"(?:\\[uU]\{?|%u|[Uu]\+)0{0,4}([0-9A-Fa-f]{4,5})\}?")
_ESCAPE_SIGNS = ("\\u", "\\U", "%u", "U+", "u+")
_WORD = re.compile(r"[A-Za-z]{4}")
_LATIN = re.compile(r"[A-Za-z][A-Za-z '-]{3,}")
_ROT13 = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm"
)
_COMMON = re.compile(
    rb"(?:[A-Za-z0-9 .,:?!\r\n]*+(?:[\xa1\xa3][\xa1-\xfe])*+[\xb0-\xd7][\xa1-\xfe]){2}"
    rb"(?:[\xb0-\xd7\xa1\xa3][\xa1-\xfe]|[\x20-\x7e\r\n\t])*+.?",
    re.DOTALL,
)
"""Frequent ideographs, at least two, with punctuation and ASCII."""
_READABLE = 0.9
"""Share of the characters of a payload that can be printed."""


@dataclass(slots=True)
class _Budget:
    """What may still be decoded."""

    payloads: int = MOST_PAYLOADS
    characters: int = MOST_CHARACTERS

    @property
    def spent(self) -> bool:
        return self.payloads <= 0 or self.characters <= 0

    def take(self, payload: str) -> str:
        """Return as much of *payload* as may be had."""
        payload = payload[: self.characters]
        self.payloads -= 1
        self.characters -= len(payload)
        return payload


def decoded(text: str) -> Iterator[tuple[str, str]]:
    """Yield code and plain text of each payload in *text*, also of those within payloads (*base64+url*).

    Never raises; linear in the text, with bounds on what comes out.
    """
    yield from _nested(text, "", 1, _Budget())
    if _WORD.search(text):
        yield "rot13", rot13(text)


def rot13(text: str) -> str:
    """Return the Latin words of *text*, with each letter half an alphabet on."""
    words = text if text.isascii() else "\n".join(_LATIN.findall(text))
    return words.translate(_ROT13)


def _nested(text: str, outer: str, depth: int, budget: _Budget) -> Iterator[tuple[str, str]]:
    for code, payload in _payloads(text, budget):
        if payload == text:
            continue
        name = outer + code
        yield name, payload
        if depth < DEEPEST:
            yield from _nested(payload, f"{name}+", depth + 1, budget)
        if outer == "" and _WORD.search(payload):
            yield f"{name}+rot13", rot13(payload)


def _payloads(text: str, budget: _Budget) -> Iterator[tuple[str, str]]:
    """Yield the payloads that *text* itself has. The tests before each search are its cost for ordinary texts."""
    for code, payload in _candidates(text, budget):
        if budget.spent:
            return
        yield code, budget.take(payload)


def _candidates(text: str, budget: _Budget) -> Iterator[tuple[str, str]]:
    if "%" in text:
        yield from (("url", payload) for payload in _replaced(text, _PERCENT, _unpercent))
    if "&" in text:
        yield from (
            ("entities", payload) for payload in _replaced(text, _ENTITY, lambda match: html.unescape(match[0]))
        )
    if any(sign in text for sign in _ESCAPE_SIGNS):
        yield from (("escapes", payload) for payload in _replaced(text, _ESCAPE, _unescape))
    for match in _HEX.finditer(text):
        payload = _unhex(match[0], budget.characters)
        if payload:
            yield "hex", payload
    for match in _BASE64.finditer(text):
        payload = _unbase64(match[0], budget.characters)
        if payload:
            yield "base64", payload


def _replaced(text: str, pattern: re.Pattern[str], plain: Callable[[re.Match[str]], str]) -> Iterator[str]:
    """Yield each part of *text* that has escapes, with what stands around them and with the escapes read."""
    start = end = -1
    for match in pattern.finditer(text):
        if start >= 0 and match.start() - end > _AROUND:
            yield _part(text, start, end, pattern, plain)
            start = -1
        if start < 0:
            start = match.start()
        end = match.end()
    if start >= 0:
        yield _part(text, start, end, pattern, plain)


def _part(text: str, start: int, end: int, pattern: re.Pattern[str], plain: Callable[[re.Match[str]], str]) -> str:
    whole = text[max(0, start - _AROUND) : min(end, start + 12 * MOST_CHARACTERS) + _AROUND]
    return _paired(pattern.sub(plain, whole))


def _paired(text: str) -> str:
    """Return *text* with halves of UTF-16 pairs put together, and without single ones."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unpercent(match: re.Match[str]) -> str:
    return _characters(bytes.fromhex(match[0].replace("%", "")), strict=False) or match[0]


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _unhex(match: str, most: int) -> str:
    """Return what a run of hexadecimal digits says; "" where it is a number or an id."""
    digits = _HEX_SIGNS.sub("", match[: 6 * most])
    if _BINARY.match(match):
        bits = re.sub("[^01]", "", match)[: 8 * most]
        bits = bits[: len(bits) // 8 * 8]
        return _characters(int(bits[:8000], 2).to_bytes(len(bits[:8000]) // 8, "big"))
    return _characters(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _unbase64(match: str, most: int) -> str:
    """Return what a run of base64 says; "" where it is a word, a name or an id."""
    token = match[: 4 * most]
    if token.islower() or token.isupper() or token.isdigit() or token[1:].islower():
        return ""  # what is encoded has capitals and small letters
    token = re.sub(r"\s", "", token).replace("-", "+").replace("_", "/")
    token = token[: len(token) - (len(token) % 4 == 1)]
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4))
    except binascii.Error:
        return ""
    return _characters(data)


def _characters(data: bytes, *, strict: bool = True) -> str:
    """Return *data* as text, in UTF-8 or GB18030; "" where it is hardly a text. Its last character may be cut off.

    *strict*: random bytes must not pass, which GB18030 takes by the dozen.
    """
    if strict and len(data) < _FEWEST_BYTES:
        return ""
    try:
        text, _ = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        text = data.decode("gb18030", "ignore")
        if strict and not _is_common(data):
            return ""
    return text if _is_readable(text) and (not strict or any(map(str.isalpha, text))) else ""


def _is_common(data: bytes) -> bool:
    """Return whether *data* is what people write in GB18030, with perhaps half a character at its end."""
    return _COMMON.fullmatch(data) is not None


def _is_readable(text: str) -> bool:
    if text.isprintable():
        return bool(text)
    return sum(map(str.isprintable, text)) + text.count("\n") + text.count("\t") >= _READABLE * len(text)
