"""One spelling for many: width, case, traditional forms, number styles, marks and what is put between characters.

A fold is a map from one code point to none or more characters, so that a text folds the same however it is cut, and
each folded character knows which one it came from. There are two: *squeezed* drops blanks and symbols, for terms of
ideographs; *spaced* turns them into single blanks, for terms that are whole words.
"""

import pkgutil
import re
import unicodedata
from collections.abc import Callable

KEPT = frozenset("。?!;:,、")
"""Ends of sentences and clauses (full-width forms fold to them): no term reaches across. A line's end is a blank."""
_CACHED = 60_000
"""Code points whose fold is remembered; whoever sends all of Unicode shall not fill the memory."""
_NUMERALS = dict(zip("壹贰叁肆伍陆柒捌玖拾佰仟", "一二三四五六七八九十百千", strict=True))
_ROMAN = range(0x2160, 0x2180)
_BLANKS = re.compile("  +")
_GONE, _MORE = "\ue000", "\ue001"
"""Stand where a character folds to nothing, and between the characters of one; no fold has them itself."""
_SIGNS = re.compile(f"{_GONE}+|{_MORE}")
_INVISIBLE = frozenset({"Mn", "Me", "Cf"})
"""Combining marks, enclosing marks, zero-width and other format characters."""
_STRIPPED = ("LATIN", "GREEK", "CYRILLIC")
"""Scripts whose letters are compared without their marks; in others, such as kana, a mark makes another letter."""


def _simplified() -> dict[str, str]:
    """Return OpenCC's map from traditional characters to simplified ones."""
    table = pkgutil.get_data("opencc", "dictionary/TSCharacters.txt") or b""
    pairs = (line.split("\t") for line in table.decode("utf-8").splitlines() if "\t" in line)
    return {old: new.split()[0] for old, new in pairs}


_SIMPLIFIED = _simplified()


def is_ideograph(character: str) -> bool:
    """Return whether *character* belongs to a script that puts no blanks between words: Han, kana, Hangul, Bopomofo."""
    point = ord(character)
    if point < 0x2E80:
        return False
    return (
        0x3400 <= point <= 0x9FFF
        or 0x3040 <= point <= 0x31FF
        or 0xAC00 <= point <= 0xD7AF
        or 0x20000 <= point <= 0x3FFFF
        or 0x2E80 <= point <= 0x2FDF
        or 0xF900 <= point <= 0xFAFF
        or character in "々〇"
    )


def has_ideographs(text: str) -> bool:
    """Return whether *text* has a character of such a script."""
    return any(map(is_ideograph, unicodedata.normalize("NFKC", text)))


def is_word(character: str) -> bool:
    """Return whether a folded *character* is part of a word that blanks separate from others."""
    return character.isalnum() and not is_ideograph(character)


def _canonical(character: str) -> str:
    """Return the letters, digits and signs that *character* stands for; nothing where it cannot be seen."""
    if unicodedata.category(character) in _INVISIBLE:
        return ""
    if ord(character) in _ROMAN:  # NFKC would make letters of them
        return str(int(unicodedata.numeric(character)))
    out = []
    for part in unicodedata.normalize("NFKC", character).casefold():
        plain = part
        if not part.isascii() and unicodedata.name(part, "").startswith(_STRIPPED):
            plain = unicodedata.normalize("NFD", part)[0]
        plain = _SIMPLIFIED.get(plain, plain)
        if unicodedata.category(plain) not in _INVISIBLE:
            out.append(_NUMERALS.get(plain, plain))
    return "".join(out)


def _squeeze(character: str) -> str:
    """Return what of *character* counts where blanks and symbols do not."""
    return "".join(c for c in _canonical(character) if c.isalnum() or c in KEPT or is_ideograph(c))


def _space(character: str) -> str:
    """Return what of *character* counts between words: all that is neither letter nor digit separates them."""
    if character in "'’":
        return ""
    canonical = _canonical(character)
    return "".join(c if c.isalnum() or is_ideograph(c) else " " for c in canonical)


class Fold(dict[int, str]):
    """A fold, as a table for `str.translate` that grows with what it meets."""

    def __init__(self, rule: Callable[[str], str], *, collapses: bool) -> None:
        super().__init__()
        self._rule = rule
        self._collapses = collapses
        self._marked = _Marked(self)

    def __missing__(self, point: int) -> str:
        folded = self._rule(chr(point))
        if len(self) < _CACHED:
            self[point] = folded
        return folded

    def text(self, text: str) -> str:
        """Return *text*, folded."""
        folded = text.translate(self)
        return _BLANKS.sub(" ", folded) if self._collapses and "  " in folded else folded

    def traced(self, text: str) -> tuple[str, list[int]]:
        """Return *text*, folded, and for each folded character the index of the one it came from."""
        marked = text.translate(self._marked)
        origin: list[int] = []
        last = place = 0
        for sign in _SIGNS.finditer(marked):
            start, end = sign.span()
            origin.extend(range(place, place + start - last))
            place += start - last
            place += end - start if marked[start] == _GONE else -1
            last = end
        origin.extend(range(place, place + len(marked) - last))
        folded = _SIGNS.sub("", marked) if len(origin) < len(marked) else marked
        return self._collapsed(folded, origin) if self._collapses and "  " in folded else (folded, origin)

    @staticmethod
    def _collapsed(folded: str, origin: list[int]) -> tuple[str, list[int]]:
        """Return both with the first alone of several blanks in a row."""
        kept: list[int] = []
        last = 0
        for blanks in _BLANKS.finditer(folded):
            kept += origin[last : blanks.start() + 1]
            last = blanks.end()
        return _BLANKS.sub(" ", folded), kept + origin[last:]


class _Marked(dict[int, str]):
    """A fold that shows where it takes and adds characters: tracing by what is uneven costs less than one by one."""

    def __init__(self, fold: Fold) -> None:
        super().__init__()
        self._fold = fold

    def __missing__(self, point: int) -> str:
        folded = self._fold[point]
        marked = _MORE.join(folded) or _GONE
        if len(self) < _CACHED:
            self[point] = marked
        return marked


SQUEEZED = Fold(_squeeze, collapses=False)
SPACED = Fold(_space, collapses=True)
