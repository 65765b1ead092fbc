"""Words that travel as something else, code within code: base64 and its like, percent signs, entities, escapes, rot13.

All of a text is looked at, however much of it is encoded: nothing is left out for being the hundredth payload or the
second megabyte. The work stays in proportion to the text, because each code is read once a depth, what one code says
is never longer than the text it stood in, and short payloads are searched together.
"""

import re
from collections.abc import Iterator

from keywords import encodings, escapes
from keywords.plaintext import BETWEEN
from keywords.windows import STEP, Step

DEEPEST = 5
"""Codes within codes."""
MOST = 4
"""Characters that all depths but the first may say, for each of the text: far more than any text was found to."""
TOGETHER = 20_000
"""Characters of short payloads of one code that are searched as one text."""
_WORD = re.compile(r"[A-Za-z]{4}")
_LATIN = re.compile(r"[A-Za-z][A-Za-z '-]{3,}")
_ROT13 = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm"
)


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
    yield from _Depths(MOST * len(text) + TOGETHER).nested(text, "", 1)


def rot13(text: str) -> str:
    """Return the Latin words of *text*, with each letter half an alphabet on."""
    words = text if text.isascii() else "\n".join(_LATIN.findall(text))
    return words.translate(_ROT13)


def turned(text: str, outer: str = "") -> Iterator[Step]:
    """Yield what rot13 makes of *text*, where that has Latin words; *outer* stands before its name."""
    if _WORD.search(text):
        yield f"{outer}rot13", rot13(text)


class _Depths:
    """Reads payloads and the payloads within them, as long as *left* characters of the latter last."""

    def __init__(self, left: int) -> None:
        self.left = left

    def nested(self, text: str, outer: str, depth: int) -> Iterator[Step]:
        """Yield what is encoded in *text*, which came out of the codes *outer*."""
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
                yield from self._within(waiting.pop(code), outer + code, depth)
        for code, payloads in waiting.items():
            yield from self._within(payloads, outer + code, depth)

    def _within(self, payloads: list[str], name: str, depth: int) -> Iterator[Step]:
        plain = BETWEEN.join(payloads)
        yield name, plain
        if depth < DEEPEST and self.left >= 0:
            self.left -= len(plain)
            yield from self.nested(plain, f"{name}+", depth + 1)


def _payloads(text: str) -> Iterator[Step]:
    """Yield the payloads that *text* itself has. The tests before each search are its cost for ordinary texts."""
    yield from escapes.unescaped(text)
    yield from escapes.numbers(text)
    yield from escapes.styled(text)
    yield from encodings.payloads(text)
