"""Words that travel as something else: base64, hexadecimal, percent signs, entities, escapes, rot13.

All of a text is looked at, however much of it is encoded: nothing is left out for being the hundredth payload or the
second megabyte. The work stays in proportion to the text, because each code is read once a depth, what one code says
is never longer than the text it stood in, and short payloads are searched together.
"""

import base64
import binascii
import codecs
import contextlib
import html
import re
from collections.abc import Generator, Iterator

DEEPEST = 3
"""Codes within codes."""
TOGETHER = 20_000
"""Characters of short payloads of one code that are searched as one text."""
BETWEEN = "。ᚠ。"
"""Between them: a word that no term has between ends of sentences, so that no term reaches across in either fold."""
WINDOW = 20_000
"""Characters that are looked through before others get their turn."""
PIECE = 3 * 1024
"""Bytes that are read as a text, or as none, at a time; a multiple of three, which is four signs of base64."""
STEP = ("", "")
"""Instead of a payload: some work is done."""
_RESTS = 16
"""Pieces that are read before others get their turn, some hundred microseconds."""
_MARGIN = 64
"""More than the fewest characters of any code: a payload that begins in a window is recognised there."""
_AROUND = 40
"""Characters on either side of an escape that are read with it. Where these would meet, two are read as one:
法%E8%BD%AE功."""
_FEWEST_BYTES = 4
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}+(?:(?<=[A-Za-z0-9+/_-]{60})\r?\n[A-Za-z0-9+/_-]{4,}+)*+")
"""Lines of at least 60 go on in the next, as in mails. Nothing behind the first run may fail, or it is tried anew."""
_HEX = re.compile(r"[0-9A-Fa-f]{2}(?:[ ,:;-]{0,2}(?:0[xX]|\\[xX])?[0-9A-Fa-f]{2}){3,}+[0-9A-Fa-f]?")
_HEX_SIGNS = b" ,:;-\\xX"
_BINARY = re.compile(r"(?:[01]{8}[ ,]?){3,}+")
_ESCAPED = re.compile(
    r"(?:%[0-9A-Fa-f]{2})++|&(?:#[xX][0-9A-Fa-f]{1,6}|#[0-9]{1,7}|amp|nbsp);?"
    r"|(?:\\[uU]\{?|%u|[Uu]\+)0{0,4}([0-9A-Fa-f]{4,5})\}?"
)
_SIGNS = ("%", "&", "\\u", "\\U", "U+", "u+")
_TORN = re.compile(rb"\A[\x80-\xbf]{1,3}")
"""The end of a character in UTF-8."""
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
_TEXT = re.compile(rb"(?:[\xe3-\xe9][\x80-\xbf]{2}[\x20-\x7e]{0,8}){3,}+|[A-Za-z](?:[A-Za-z]|[ ,.'-](?=[A-Za-z])){9,}+")
"""Three ideographs or more in UTF-8, or some Latin words: rare in random bytes."""
LONGEST_GLUED = 100_000
"""Signs of a code to which something may be glued, some milliseconds; of longer ones each piece is read alone."""
_READABLE = 0.9
"""Share of the characters of a payload that can be printed."""

Step = tuple[str, str]
"""Code and plain text of a payload, or `STEP`."""


def decoded(text: str) -> Iterator[Step]:
    """Yield code and plain text of all that is encoded in *text*, also within payloads (*base64+url*).

    Short payloads of one code come together as one text. Never raises; linear in the text.
    """
    for code, plain in steps(text):
        if not plain:
            continue
        yield code, plain
        if "+" not in code:
            yield from turned(plain, f"{code}+")
    yield from turned(text)


def steps(text: str) -> Iterator[Step]:
    """Do the same (rot13 aside) for a text of any length: yield `STEP` whenever it is time for others."""
    yield from _nested(text, "", 1)


def rot13(text: str) -> str:
    """Return the Latin words of *text*, with each letter half an alphabet on."""
    words = text if text.isascii() else "\n".join(_LATIN.findall(text))
    return words.translate(_ROT13)


def turned(text: str, outer: str = "") -> Iterator[Step]:
    """Yield what rot13 makes of *text*, where that has Latin words; *outer* stands before its name."""
    if _WORD.search(text):
        yield f"{outer}rot13", rot13(text)


def _nested(text: str, outer: str, depth: int) -> Iterator[Step]:
    waiting: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for code, plain in _payloads(text):
        if not plain:
            yield STEP
            continue
        waiting.setdefault(code, []).append(plain)
        sizes[code] = sizes.get(code, 0) + len(plain)
        if sizes[code] >= TOGETHER:
            del sizes[code]
            yield from _within(waiting.pop(code), outer + code, depth)
    for code, payloads in waiting.items():
        yield from _within(payloads, outer + code, depth)


def _within(payloads: list[str], name: str, depth: int) -> Iterator[Step]:
    plain = BETWEEN.join(payloads)
    yield name, plain
    if depth < DEEPEST:
        yield from _nested(plain, f"{name}+", depth + 1)


def _payloads(text: str) -> Iterator[Step]:
    """Yield the payloads that *text* itself has. The tests before each search are its cost for ordinary texts."""
    if any(sign in text for sign in _SIGNS):
        yield from _unescaped(text)
    for code, pattern, read in (("hex", _HEX, _unhex), ("base64", _BASE64, _unbase64)):
        for match in _runs(text, pattern):
            if match is None:
                yield STEP
                continue
            for shift, data in read(match[0]):
                said = "" if shift else (yield from _said(data))
                yield code, said or _among(data)


def _runs(text: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str] | None]:
    """Yield each match of *pattern*, whole however long, and None behind each window."""
    start = 0
    while start < len(text):
        end = start + WINDOW
        for match in pattern.finditer(text, start, end + _MARGIN):
            if match.end() < end:
                yield match
            elif match.start() < end and (whole := pattern.match(text, match.start())):
                yield whole
                end = whole.end()
                break
        start = end
        yield None


def _unescaped(text: str) -> Iterator[Step]:
    """Yield each part of *text* that has escapes, with what stands around them and with the escapes read."""
    code, end = "", 0
    parts: list[str] = []
    for match in _runs(text, _ESCAPED):
        if match is None:
            yield STEP
            continue
        if parts and match.start() - end > 2 * _AROUND:
            yield code, _paired("".join((*parts, text[end : end + _AROUND])))
            code, parts = "", []
        parts.append(text[end if parts else max(0, match.start() - _AROUND) : match.start()])
        kind, plain = yield from _unescape(match)
        parts.append(plain)
        code, end = code or kind, match.end()
    if parts:
        yield code, _paired("".join((*parts, text[end : end + _AROUND])))


def _paired(text: str) -> str:
    """Return *text* with halves of UTF-16 pairs put together, and without single ones."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescape(match: re.Match[str]) -> Generator[Step, None, Step]:
    if match[1]:
        return "escapes", chr(int(match[1], 16))
    if match[0].startswith("&"):
        return "entities", html.unescape(match[0])
    plain = yield from _said(bytes.fromhex(match[0].replace("%", "")), strict=False)
    return "url", plain or match[0]


def _unhex(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a run of hexadecimal digits may stand for, be they bits or not."""
    if bits := _BINARY.match(match):
        ones = bits[0].replace(" ", "").replace(",", "")
        yield 0, int(ones, 2).to_bytes(len(ones) // 8, "big")
    digits = match.encode().replace(b"0x", b"").replace(b"0X", b"").translate(None, _HEX_SIGNS)
    for shift in (0, 1):  # one more digit may be glued in front
        yield shift, bytes.fromhex(digits[shift : shift + (len(digits) - shift) // 2 * 2].decode())


def _unbase64(match: str) -> Iterator[tuple[int, bytes]]:
    """Yield what a run of base64 stands for, where it is no word, name or id."""
    if match.islower() or match.isupper() or match.isdigit() or match[1:].islower():
        return  # what is encoded has capitals and small letters
    token = match.replace("\r", "").replace("\n", "").replace("-", "+").replace("_", "/")
    for shift in range(4 if len(token) <= LONGEST_GLUED else 1):
        part = token[shift : len(token) - ((len(token) - shift) % 4 == 1)]
        with contextlib.suppress(binascii.Error):
            yield shift, base64.b64decode(part + "=" * (-len(part) % 4))


def _among(data: bytes) -> str:
    """Return what is text in *data* that as a whole is none: something was glued to its code; "" for nothing."""
    return BETWEEN.join(found.decode() for found in _TEXT.findall(data)) if len(data) <= LONGEST_GLUED else ""


def _said(data: bytes, *, strict: bool = True) -> Generator[Step, None, str]:
    """Return *data* as text, read in pieces; "" where none is a text. Between texts `BETWEEN` stands for the others."""
    texts: list[str] = []
    rest = b""
    start = 0
    while start < len(data):
        end = start + PIECE if len(data) - start >= 2 * PIECE else len(data)  # the last one is not too short to judge
        text, rest = _characters(rest + data[start:end], strict=strict, torn=start > 0 and not texts[-1])
        texts.append(text)
        start = end
        if len(texts) % _RESTS == 0:
            yield STEP
    return "".join(text or BETWEEN for text in texts) if any(texts) else ""


def _characters(data: bytes, *, strict: bool, torn: bool) -> tuple[str, bytes]:
    """Return *data* as text, in UTF-8 or GB18030, and the bytes at its end that begin a character; "" for no text.

    *strict*: random bytes must not pass, which GB18030 takes by the dozen. *torn*: it may begin within a character.
    """
    if torn:
        data = _TORN.sub(b"", data)
    if strict and len(data) < _FEWEST_BYTES:
        return "", b""
    try:
        text, used = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        if strict and not _COMMON.fullmatch(data):
            return "", b""
        decoder = codecs.getincrementaldecoder("gb18030")("ignore")
        text = decoder.decode(data)
        used = len(data) - len(decoder.getstate()[0])
    fits = _is_readable(text) and (not strict or any(map(str.isalpha, text)))
    return (text, data[used:]) if fits else ("", b"")


def _is_readable(text: str) -> bool:
    if text.isprintable():
        return bool(text)
    return sum(map(str.isprintable, text)) + text.count("\n") + text.count("\t") >= _READABLE * len(text)
