"""Texts written in another alphabet: hexadecimal, bits, base64, base32, base85; in one piece or scattered."""

import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Iterator

from keywords.plaintext import BETWEEN, among, said
from keywords.possessive import compiled
from keywords.windows import STEP, WINDOW, Step, runs

LONGEST_GLUED = 100_000
"""Signs of a code to which something may be glued, some milliseconds; of longer ones each piece is read alone."""
OVERLAP = 2_000
"""Characters of two windows in which the same scattered signs are read: some words of any code."""
_SHORT = 150
"""Bytes of a code that may be any text behind what is glued to it; of longer ones such as can be told from noise."""
FEWEST_SIGNS = 8
"""Of base64: two ideographs, the shortest word."""
AT_ONCE = 10_000
"""Signs of base32 and base85 that are read before others get their turn, a millisecond; whole groups of both."""
_STRIDE = WINDOW - OVERLAP
_LINE = 60
"""Signs of a line that is not scattered, and goes on in the next."""
_BASE64 = compiled(r"[A-Za-z0-9+/_-]{8,}+(?:(?<=[A-Za-z0-9+/_-]{60})[ \t\r\n,;|]{1,3}[A-Za-z0-9+/_-]{4,}+)*+")
"""Lines of at least 60 go on in the next, as in mails. Nothing behind the first run may fail, or it is tried anew."""
_HEX = compiled(r"[0-9A-Fa-f]{2}(?:[ ,:;\r\n-]{0,2}(?:0[xX]|\\[xX])?[0-9A-Fa-f]{2}){3,}+[0-9A-Fa-f]?")
_HEX_SIGNS = b" ,:;\r\n-\\xX"
_BINARY = compiled(r"(?:[01]{8}[ ,\r\n]{0,2}){3,}+")
_BASE32 = re.compile(
    r"(?<![A-Za-z0-9+/])(?:[A-Z2-7]{2,}+(?![a-z+/])(?:[ \t\r\n-]{1,2}[A-Z2-7]++(?![a-z+/]))*|[a-z2-7]{10,}+(?![A-Z+/]))"
)
_WORDY32 = re.compile("[a-z]+|[^G-Zg-z]+")
"""No base32: words, numbers, hexadecimal."""
_BASE85 = re.compile(r"<~[^~]{8,}+~>|[!-~]{8,}+")
_WORDY85 = re.compile(r"[\w.,/:;?!()'\"-]+|[^a-z]+|[^A-Z]+")
"""No base85: words with their punctuation, addresses and paths, and what has no capitals or no small letters."""
_ASCII = re.compile("[!-~]+")
_SIGNS = re.compile("[A-Za-z0-9+/]+")
_BEFORE = re.compile("[\u3400-\u9fff]{1,8}\\Z")
_BEHIND = re.compile("[\u3400-\u9fff]{1,8}")
"""What of a word may stand in the clear beside its other half in a code."""
_DIGIT = re.compile("[0-9]")
_NO_BLANKS = str.maketrans("", "", " ,\r\n")
_STANDARD = str.maketrans("-_", "+/", " \t\r\n,;|")
_NO_HEX = str.maketrans("", "", "GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz+/")

Reader = Callable[[str], Iterator[tuple[int, bytes]]]
"""Yields the bytes that signs of a code may stand for, each with how many signs in front are left out."""


def payloads(text: str) -> Iterator[Step]:
    """Yield what is encoded in *text*, or `STEP` whenever it is time for others."""
    if len(text) <= WINDOW and sum(map(len, _ASCII.findall(text))) < FEWEST_SIGNS:
        return
    told: list[str] = []
    yield from _scattered(text, told)
    for code, pattern, read in _CODES:
        for match in runs(text, pattern):
            if match is None:
                yield STEP
                continue
            near = told[max(0, match.start() // _STRIDE - 1) : match.start() // _STRIDE + 1]
            for shift, data in read(match[0]):
                plain = "" if shift and len(data) > _SHORT else (yield from said(data))
                if plain and BETWEEN not in plain:  # all of it is a text, so nothing is glued to it
                    beside = _beside(text, match, plain)
                    yield code, beside if len(beside) > len(plain) or _is_new(plain, near) else ""
                    break
                pieces = among(data) if (plain or len(data) <= LONGEST_GLUED) else []
                yield code, plain or BETWEEN.join(piece for piece in pieces if _is_new(piece, near))


def _is_new(plain: str, near: list[str]) -> bool:
    """Return whether *plain* is no part of what scattered signs said *near* it: it would be read twice a depth."""
    return len(plain) > OVERLAP or not any(plain in told for told in near)


def _beside(text: str, match: re.Match[str], plain: str) -> str:
    """Return *plain* with the ideographs that touch its code: 法 and base64 of 轮功 are one word."""
    before = _BEFORE.search(text, max(0, match.start() - 8), match.start())
    behind = _BEHIND.match(text, match.end())
    return (before[0] if before else "") + plain + (behind[0] if behind else "")


def _scattered(text: str, told: list[str]) -> Iterator[Step]:
    """Yield what hexadecimal and base64 say once all other signs are left out, whatever stands between them.

    For each window what it said is added to *told*.
    """
    for start in range(0, max(len(text) - OVERLAP, 1), _STRIDE):
        found = [signs for signs in _SIGNS.findall(text[start : start + WINDOW]) if len(signs) < _LINE]
        plain: list[str] = []
        if len(found) > 1:
            signs = "".join(found)
            digits = len(_DIGIT.findall(signs))
            for code, fewest, read in _SCATTERED:
                for _, data in read(signs) if digits >= fewest else ():
                    plain += (pieces := among(data))
                    yield code, BETWEEN.join(pieces)
        told.append(BETWEEN.join(plain))
        yield STEP


def _unhex(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a run of hexadecimal digits may stand for, be they bits or not."""
    if bits := _BINARY.match(match):
        ones = bits[0].translate(_NO_BLANKS)
        yield 0, int(ones, 2).to_bytes(len(ones) // 8, "big")
    digits = match.encode().replace(b"0x", b"").replace(b"0X", b"").translate(None, _HEX_SIGNS)
    yield from _halves(digits.decode())


def _unhex_scattered(signs: str) -> Iterator[tuple[int, bytes]]:
    yield from _halves(signs.replace("0x", "").translate(_NO_HEX))


def _halves(digits: str) -> Iterator[tuple[int, bytes]]:
    for shift in (0, 1):  # one more digit may be glued in front
        yield shift, bytes.fromhex(digits[shift : shift + (len(digits) - shift) // 2 * 2])


def _unbase64(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a run of base64 stands for, where it is no word, name or id."""
    if match.islower() or match.isupper() or match.isdigit() or match[1:].islower():
        return  # what is encoded has capitals and small letters
    yield from _shifted(match.translate(_STANDARD))


def _shifted(token: str) -> Iterator[tuple[int, bytes]]:
    for shift in range(4 if len(token) <= LONGEST_GLUED else 1):
        part = token[shift : len(token) - ((len(token) - shift) % 4 == 1)]
        with contextlib.suppress(binascii.Error):
            yield shift, base64.b64decode(part + "=" * (-len(part) % 4))


def _unbase32(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a run of base32 stands for, whatever is glued in front."""
    if _WORDY32.fullmatch(match):
        return
    token = "".join(match.upper().replace("-", "").split())
    for shift in range(8 if len(token) <= LONGEST_GLUED else 1):
        part = token[shift:]
        part = part[: len(part) - (len(part) % 8 in {1, 3, 6})]
        if len(part) >= FEWEST_SIGNS:
            yield from _in_parts(base64.b32decode, part + "=" * (-len(part) % 8), shift)


def _unbase85(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a word may stand for in base85 and in Ascii85."""
    if match.startswith("<~"):
        match = match[2:-2]
    elif _WORDY85.fullmatch(match):
        return
    for read, token in ((base64.b85decode, match), (base64.a85decode, match.replace("z", "!!!!!"))):
        with contextlib.suppress(ValueError):
            yield from _in_parts(read, token, 0)


def _in_parts(read: Callable[[str], bytes], token: str, shift: int) -> Iterator[tuple[int, bytes]]:
    """Yield what *token* says, and nothing before that while it is read: these codes are read slowly."""
    parts: list[bytes] = []
    for start in range(0, len(token), AT_ONCE):
        parts.append(read(token[start : start + AT_ONCE]))
        if start:
            yield shift, b""
    yield shift, b"".join(parts)


_CODES: tuple[tuple[str, re.Pattern[str], Reader], ...] = (
    ("hex", _HEX, _unhex),
    ("base64", _BASE64, _unbase64),
    ("base32", _BASE32, _unbase32),
    ("base85", _BASE85, _unbase85),
)
_SCATTERED: tuple[tuple[str, int, Reader], ...] = (("hex", 4, _unhex_scattered), ("base64", 1, _shifted))
"""With how many digits it has at least: words have none."""
