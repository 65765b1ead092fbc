"""Characters written as numbers: percent signs, entities, escapes of programming languages, code points, tags.

An escape may stand in the middle of a word, so it is read together with what stands around it.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Generator, Iterator

from keywords.plaintext import BETWEEN, said
from keywords.possessive import compiled
from keywords.windows import STEP, Step, runs

AROUND = 40
"""Characters on either side of an escape that are read with it. Where these would meet, two are read as one:
法%E8%BD%AE功."""
_SIGNS = ("%", "&", "\\", "U+", "u+", "=E", "<", "xn--")
_UNSEEN = "\ufe00-\ufe0f\U000e0020-\U000e007e\U000e0100-\U000e01ef"
_HAS_UNSEEN = re.compile("[\ufe00-\ufe0f\U000e0020-\U000e01ef]")
_ESCAPED = compiled(
    rf"(?=[%&<\\=Uux{_UNSEEN}])(?:"
    r"(?P<url>(?:%[0-9A-Fa-f]{2})++)"
    r"|(?P<entities>&(?:#[xX]0*+[0-9A-Fa-f]{1,6}|#0*+[0-9]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});?)"
    r"|(?P<octets>(?:\\[xX][0-9A-Fa-f]{2})++|(?:\\[0-3][0-7]{2})++|(?:=[0-9A-F]{2}(?:=\r?\n)?){3,}+)"
    r"|(?P<escapes>\\(?:[uUxX]\{|N\{U\+)0*+(?P<braced>[0-9A-Fa-f]{1,6})\}|(?:\\u|%u)(?P<four>[0-9A-Fa-f]{4})"
    r"|(?:\\U|[Uu]\+)0{0,4}(?P<point>[0-9A-Fa-f]{4,5}(?![0-9A-Fa-f])|[0-9A-Fa-f]{4})"
    r"|\\(?P<css>[4-9][0-9A-Fa-f]{3}) ?)"
    r"|(?P<markup></?[A-Za-z!][^<>]{0,200}>)"
    r"|(?P<punycode>xn--[A-Za-z0-9-]{2,59})"
    r"|(?P<tags>[\U000e0020-\U000e007e]++)"
    r"|(?P<selectors>[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}+))"
)
_NUMBER = r"(?<![0-9.])[0-9]{2,7}(?![0-9.])"
_NUMBERS = compiled(rf"{_NUMBER}(?:\W{{1,3}}{_NUMBER})++")
_HAS_NUMBERS = re.compile(r"[0-9]{2}\W{1,3}[0-9]{2}")
_OCTAL = re.compile(r"[0-3][0-7]{2}(?:\W{1,3}[0-3][0-7]{2})+")
_DIGITS = re.compile("[0-9]+")
_FEWEST_OCTETS = 4
_STYLED = re.compile("[０-９Ａ-Ｚａ-ｚ\u24b6-\u24e9\U0001d400-\U0001d7ff]")
_FEWEST_STYLED = 8
_AT_ONCE = 5_000
"""Numbers that are read before others get their turn."""
_ROW = re.compile(r"[^\W\d_ᚠ][^。ᚠ]|[^。ᚠ][^\W\d_ᚠ]")
"""Two characters that stand together."""


def unescaped(text: str) -> Iterator[Step]:
    """Yield each part of *text* that has escapes, with what stands around them and with the escapes read.

    The test before the search is its cost for ordinary texts.
    """
    if any(sign in text for sign in _SIGNS) or (not text.isascii() and _HAS_UNSEEN.search(text)):
        yield from _read(text)


def styled(text: str) -> Iterator[Step]:
    """Yield *text* with its full-width, mathematical and encircled letters and digits as plain ones, if it has many."""
    if not text.isascii() and len(_STYLED.findall(text)) >= _FEWEST_STYLED:
        yield "styles", _STYLED.sub(lambda sign: unicodedata.normalize("NFKC", sign[0]), text)


def numbers(text: str) -> Iterator[Step]:
    """Yield what rows of decimal numbers in *text* stand for, be they code points or bytes."""
    if not _HAS_NUMBERS.search(text):
        return
    for match in runs(text, _NUMBERS):
        if match is None:
            yield STEP
            continue
        values: list[int] = []
        for number in _DIGITS.finditer(match[0]):
            values.append(int(number[0]))
            if len(values) % _AT_ONCE == 0:
                yield STEP
        if len(values) >= _FEWEST_OCTETS and _OCTAL.fullmatch(match[0]):
            plain = yield from said(bytes(int(number, 8) for number in _DIGITS.findall(match[0])))
        elif max(values) > 0xFF:
            plain = "".join(chr(value) if _is_usual(value) else BETWEEN for value in values)
        elif len(values) >= _FEWEST_OCTETS:
            plain = yield from said(bytes(values))
        else:
            continue
        if _ROW.search(plain):
            yield "numbers", plain


def _is_usual(point: int) -> bool:
    """Return whether *point* is an ideograph, a kana, a full-width sign or ASCII; other numbers are only numbers."""
    return 0x3000 <= point <= 0x9FFF or 0x20 <= point < 0x7F or 0xFF00 <= point < 0xFFF0 or 0x20000 <= point < 0x30000


def _read(text: str) -> Iterator[Step]:
    code, end = "", 0
    parts: list[str] = []
    for match in runs(text, _ESCAPED):
        if match is None:
            yield STEP
            continue
        kind = match.lastgroup or ""
        plain = _QUICK.get(match[0]) or (yield from _meaning(kind, match))
        if plain == match[0]:  # looks like one and is none: R&D
            continue
        if parts and match.start() - end > 2 * AROUND:
            yield code, _paired("".join((*parts, text[end : end + AROUND])))
            code, parts = "", []
        parts.append(text[end if parts else max(0, match.start() - AROUND) : match.start()])
        parts.append(plain)
        code, end = code or kind, match.end()
    if parts:
        yield code, _paired("".join((*parts, text[end : end + AROUND])))


def _paired(text: str) -> str:
    """Return *text* with halves of UTF-16 pairs put together, and without single ones."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _meaning(kind: str, match: re.Match[str]) -> Generator[Step, None, str]:
    """Return what an escape says; itself where it says nothing."""
    if kind in _BYTES:
        return (yield from said(_BYTES[kind](match[0]), strict=False)) or match[0]
    if kind == "entities":
        return html.unescape(match[0])
    if kind == "markup":  # 法<b>轮</b>功
        return ""
    if kind == "tags":
        tags = match[0].translate(_TAGS)
        return tags if len(tags) < _FEWEST_OCTETS else f" {tags} "
    if kind == "punycode":
        return match[0][4:].encode().decode("punycode", "ignore")
    point = int(match["braced"] or match["four"] or match["point"] or match["css"], 16)
    return chr(point) if point <= 0x10FFFF else match[0]


_QUICK = {f"%{point:02{form}}": chr(point) for point in range(0x20, 0x7F) for form in "xX"}
"""Most of what is quoted several times, read at a tenth of the cost."""
_TAGS = {0xE0000 + point: chr(point) for point in range(0x20, 0x7F)}
_SELECTORS = {(0xFE00 if byte < 16 else 0xE0100 - 16) + byte: chr(byte) for byte in range(256)}
"""The first sixteen variation selectors and the others: one for each byte."""


def _octets(escapes: str) -> bytes:
    if escapes.startswith("="):
        return bytes.fromhex(escapes.replace("=\r\n", "").replace("=\n", "").replace("=", ""))
    return escapes.replace("X", "x").encode().decode("unicode_escape").encode("latin-1")


_BYTES: dict[str, Callable[[str], bytes]] = {
    "url": lambda escapes: bytes.fromhex(escapes.replace("%", "")),
    "octets": _octets,
    "selectors": lambda signs: signs.translate(_SELECTORS).encode("latin-1"),
}
