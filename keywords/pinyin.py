"""How a text sounds: toneless syllables, so that 发伦功, fa轮gong and fǎ lún gōng are one.

`sounds` writes a text as letters and forgets what separates them; a term, as `syllables`, is looked for among the
letters as any literal, and `fits` tells whether a place is made of whole syllables and words: *fa lun gong* does not
stand in xfalungongx.
"""

import importlib.util
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.machinery import SourceFileLoader
from sys import intern

from keywords.folding import KEPT, SQUEEZED

_IDEOGRAPHS = range(0x3400, 0xA000)
_UMLAUT = str.maketrans(dict.fromkeys("üǖǘǚǜÜǕǗǙǛ", "v"))
"""As keyboards have it: lü is typed lv."""
_VOWEL = re.compile("[aeiouv]")
_WIDEST_GAP = 3
"""Characters between two sounds of a term."""
_LONGEST_SYLLABLE = 6
_CACHED = 60_000
"""Characters whose sound is remembered."""


@cache
def _readings() -> dict[str, str]:
    """Return the first reading of each ideograph, without its tone, from the table of the package pypinyin.

    The package itself is not imported: it would load megabytes of phrases. Raises ModuleNotFoundError without it.
    """
    spec = importlib.util.find_spec("pypinyin")
    if spec is None or not spec.submodule_search_locations or not isinstance(spec.loader, SourceFileLoader):
        raise ModuleNotFoundError("pinyin terms need the package pypinyin", name="pypinyin")
    table = json.loads(spec.loader.get_data(f"{spec.submodule_search_locations[0]}/pinyin_dict.json"))
    first = ((chr(int(point)), reading.partition(",")[0]) for point, reading in table.items())
    return {character: _toneless(reading) for character, reading in first if ord(character) in _IDEOGRAPHS}


@cache
def _toneless(reading: str) -> str:
    """Return *reading* without marks; cached, because 20 000 ideographs share some 1 500."""
    letters = unicodedata.normalize("NFD", reading.translate(_UMLAUT))
    return intern("".join(c for c in letters if c.isascii()))


@cache
def _legal() -> frozenset[str]:
    """Return all syllables there are; *m* and *ng* are sighs."""
    return frozenset(reading for reading in _readings().values() if _VOWEL.search(reading))


class _Table(dict[str, str]):
    """The sound of each character: a syllable, a letter, or nothing."""

    def __missing__(self, character: str) -> str:
        sound = _letters(character)
        if len(self) < _CACHED:
            self[character] = sound
        return sound


def _letters(character: str) -> str:
    """Return the Latin letters that *character* folds to."""
    return "".join(c for c in SQUEEZED.text(character.translate(_UMLAUT)) if "a" <= c <= "z")


@cache
def _table() -> _Table:
    return _Table(_readings())


def sounds(text: str) -> tuple[str, list[int]]:
    """Return *text* as it sounds, in small Latin letters alone, and for each letter the index of its character."""
    parts = list(map(_table().__getitem__, text))
    return "".join(parts), [index for index, part in enumerate(parts) for _ in part]


def fits(text: str, origin: Sequence[int], start: int, term: Sequence[str]) -> bool:
    """Return whether *term* (syllables), found at *start* of the sounds of *text*, consists of whole ones there.

    It must begin and end with a word or ideograph, and wherever one ends in between, a syllable of the term must
    end as well: 西安 is no 先. No end of a clause may stand inside.
    """
    ends = [start]
    for syllable in term:
        ends.append(ends[-1] + len(syllable))
    if not (_breaks(text, origin, start) and _breaks(text, origin, ends[-1])):
        return False
    if any(_breaks(text, origin, place) for place in range(start + 1, ends[-1]) if place not in ends):
        return False
    return all(_near(text, origin[place - 1], origin[place]) for place in range(start + 1, ends[-1]))


def _breaks(text: str, origin: Sequence[int], place: int) -> bool:
    """Return whether a word or an ideograph's syllable begins or ends before the letter at *place*."""
    if place in {0, len(origin)}:
        return True
    before, after = origin[place - 1], origin[place]
    if before == after:
        return False
    return after > before + 1 or ord(text[before]) in _IDEOGRAPHS or ord(text[after]) in _IDEOGRAPHS


def _near(text: str, before: int, after: int) -> bool:
    """Return whether little enough stands between two characters, and no end of a clause."""
    between = text[before + 1 : after]
    return not between or (len(between) <= _WIDEST_GAP and KEPT.isdisjoint(SQUEEZED.text(between)))


def syllables(term: str) -> tuple[str, ...] | None:
    """Return the syllables of *term*, written in ideographs, in pinyin (*fa lun gong*, *falungong*) or both.

    None where something in it is neither.
    """
    found: list[str] = []
    word = ""
    for character in f"{term} ":
        sound = _table()[character]
        if sound and ord(character) not in _IDEOGRAPHS:
            word += sound
            continue
        parts = _segments(word)
        if parts is None or (not sound and SQUEEZED.text(character)):
            return None
        found += [*parts, sound] if sound else parts
        word = ""
    return tuple(found) or None


def _segments(word: str) -> list[str] | None:
    """Return *word* as few legal syllables, None where it is not made of them."""
    best: list[list[str] | None] = [[]]
    for end in range(1, len(word) + 1):
        fewest: list[str] | None = None
        for start in range(max(0, end - _LONGEST_SYLLABLE), end):
            before = best[start]
            if before is None or word[start:end] not in _legal():
                continue
            if fewest is None or len(before) + 1 < len(fewest):
                fewest = [*before, word[start:end]]
        best.append(fewest)
    return best[-1]
