"""Which bytes are a text, and what they say: UTF-8, GB18030 or UTF-16. Random bytes must not pass for one."""

import codecs
import re
from collections.abc import Generator

from keywords.possessive import compiled
from keywords.windows import STEP, Step

BETWEEN = "。ᚠ。"
"""Between texts: a word that no term has between ends of sentences, so that no term reaches across in either fold."""
PIECE = 3 * 1024
"""Bytes that are read as a text, or as none, at a time; a multiple of three, which is four signs of base64."""
FEWEST_BYTES = 4
_RESTS = 16
"""Pieces that are read before others get their turn, some hundred microseconds."""
_TORN = re.compile(rb"\A[\x80-\xbf]{1,3}")
"""The end of a character in UTF-8."""
_COMMON = compiled(
    rb"(?:[A-Za-z0-9 .,:?!\r\n]*+(?:[\xa1\xa3][\xa1-\xfe])*+[\xb0-\xd7][\xa1-\xfe]){2}"
    rb"(?:[\xb0-\xd7\xa1\xa3][\xa1-\xfe]|[\x20-\x7e\r\n\t])*+.?",
    re.DOTALL,
)
"""Frequent ideographs in GB18030, at least two, with punctuation and ASCII."""
_WIDE = {
    "utf-16-be": compiled(rb"(?:[\x4e-\x9f].|\x00[\x20-\x7e\r\n\t]|[\x20\x30].|\xff[\x00-\xef]){2,}+.?", re.DOTALL),
    "utf-16-le": compiled(rb"(?:.[\x4e-\x9f]|[\x20-\x7e\r\n\t]\x00|.[\x20\x30]|[\x00-\xef]\xff){2,}+.?", re.DOTALL),
}
"""Ideographs and ASCII in UTF-16, with the punctuation of both."""
_SHORT_WIDE = 24
_MARKS_OF_ORDER = (b"\xfe\xff", b"\xff\xfe")
_AMONG = (
    rb"(?:[\xe3-\xe9\xef][\x80-\xbf]{2}[\x20-\x7e\r\n]{0,8}){%d,}+"
    rb"|[\x20-\x7e\r\n\t]{%d,}+|[A-Za-z](?:[A-Za-z]|[ ,.'-](?=[A-Za-z])){%d,}+|(?:[\x20-\x7e]\x00){6,}+"
)
_AMONG_FEW = compiled(_AMONG % (2, 12, 7))
_AMONG_MANY = compiled(_AMONG % (3, 16, 9))
"""Ideographs in UTF-8, a line of ASCII, some Latin words, or those in UTF-16: rare in random bytes, the shorter ones
where the bytes are few."""
_SHORTEST = 6
_FEW = 1_000
_KINDS = bytes(
    ord("h") if 0xE3 <= byte <= 0xE9 or byte == 0xEF else
    ord("c") if 0x80 <= byte <= 0xBF else
    ord("l") if chr(byte) in " ,.'-" or (byte < 0x80 and chr(byte).isalpha()) else
    ord("p") if 0x20 <= byte <= 0x7E or chr(byte) in "\r\n\t" else 0
    for byte in range(256)
)  # fmt: skip
"""Heads and further bytes of ideographs, what Latin words consist of, and what else is printable ASCII."""
_READABLE = 0.9
"""Share of the characters of a payload that can be printed."""


def said(data: bytes, *, strict: bool = True) -> Generator[Step, None, str]:
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


def among(data: bytes) -> list[str]:
    """Return what is text in *data* that as a whole is none, because something else stands around it or between."""
    if len(data) < _SHORTEST or not _may_have_text(data):
        return []
    pattern = _AMONG_FEW if len(data) <= _FEW else _AMONG_MANY
    return [found.replace(b"\0", b"").decode() for found in pattern.findall(data)]


def _may_have_text(data: bytes) -> bool:
    """Return whether a look at kinds of bytes leaves it open; a tenth of the cost of looking for texts."""
    kinds = data.translate(_KINDS)
    if kinds.count(b"hcc") > 1 or b"llllllll" in kinds or data.count(0) >= _SHORTEST:
        return True
    return b"pppppppppppp" in kinds.replace(b"l", b"p")


def _characters(data: bytes, *, strict: bool, torn: bool) -> tuple[str, bytes]:
    """Return *data* as text and the bytes at its end that begin a character; "" for no text.

    *strict*: random bytes must not pass, which GB18030 takes by the dozen. *torn*: it may begin within a character.
    """
    if strict and len(data) < FEWEST_BYTES:
        return "", b""
    clean = _TORN.sub(b"", data) if torn else data
    try:
        text, used = codecs.utf_8_decode(clean, "strict", False)
        encoding = "utf-8"
    except UnicodeDecodeError:
        text, used, encoding = "", 0, "gb18030"
    if not _fits(text, strict=strict) and (wide := _wide(data)):
        clean, encoding = data.removeprefix(_MARKS_OF_ORDER[wide == "utf-16-le"]), wide
    if encoding != "utf-8":
        if encoding == "gb18030" and strict and not _COMMON.fullmatch(clean):
            return "", b""
        decoder = codecs.getincrementaldecoder(encoding)("ignore")
        text = decoder.decode(clean)
        used = len(clean) - len(decoder.getstate()[0])
    return (text, clean[used:]) if _fits(text, strict=strict) else ("", b"")


def _wide(data: bytes) -> str:
    """Return in which UTF-16 *data* is written, "" for none."""
    for order, (encoding, pattern) in zip(_MARKS_OF_ORDER, _WIDE.items(), strict=True):
        plain = data.removeprefix(order)
        if pattern.fullmatch(plain) and (len(plain) > _SHORT_WIDE or _is_frequent(plain.decode(encoding, "ignore"))):
            return encoding
    return ""


def _is_frequent(text: str) -> bool:
    """Return whether all of *text* is in GB2312; a third of the ideographs is, and few bytes are soon some of them."""
    try:
        text.encode("gb2312")
    except UnicodeEncodeError:
        return False
    return True


def _fits(text: str, *, strict: bool) -> bool:
    return _is_readable(text) and (not strict or any(map(str.isalpha, text)))


def _is_readable(text: str) -> bool:
    if text.isprintable():
        return bool(text)
    return sum(map(str.isprintable, text)) + text.count("\n") + text.count("\t") >= _READABLE * len(text)
