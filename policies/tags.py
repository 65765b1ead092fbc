"""Marks of markup in a text that comes piece by piece: what stands around one is one text to who reads it. Sans-I/O.

A page shows 炸<b>弹</b> as one word, and a client that strips ``<think>`` makes one of what stood before and behind it.
"""

from collections.abc import Sequence

from keywords.live import Scanner
from keywords.possessive import compiled
from keywords.words import Words
from policies import json_text
from policies.json_text import HALF_PAIR, TAG, Character

LIMIT = 200
"""Characters of the longest tag, as in questions: what may become one is held no longer."""
_STOP = "\0"
"""Where a string of JSON begins or ends: no tag reaches across."""
_NAME = "[A-Za-z][A-Za-z0-9:._-]*+"
_BETWEEN = "(?:[\\s/]++|(?<=[\"']))"
_VALUE = rf"""(?:"[^"{_STOP}]*+"|'[^'{_STOP}]*+'|[^\s"'<>=`{_STOP}]++)"""
_ATTRIBUTES = rf"(?:{_BETWEEN}[A-Za-z@:_-][A-Za-z0-9:_-]*+(?:\s*+=\s*+{_VALUE})?+)*+"
"""Written as people write them: a browser takes more, as it takes ``a<b 则 …`` for a tag."""
_TAG = compiled(
    rf"</?+{_NAME}{_ATTRIBUTES}[\s/]*+>|<!--[^{_STOP}]*?-->|<[!?][A-Za-z\[][^<>{_STOP}]*+>",
)
_BEGUN = compiled(
    rf"""<(?:/?+(?:{_NAME}{_ATTRIBUTES}(?:\s*+=\s*+(?:"[^"{_STOP}]*+|'[^'{_STOP}]*+)?+|[\s/]*+))?+"""
    rf"|!(?:-(?:-(?:(?!-->)[^{_STOP}])*+)?+)?+|[!?](?:[A-Za-z\[][^<>{_STOP}]*+)?+)"
)
"""What may become one."""
NO_WORDS = Words(())


class Tags:
    """Reads a growing text by its characters, those of a tag as one.

    A tag in which one of *words* stands that blocks, or with the begin of one at its end, is read as it stands; what
    is to be masked in it is. *in_json*: the text stands in strings of JSON.
    """

    __slots__ = ("_in_json", "_words", "begun")

    def __init__(self, words: Words = NO_WORDS, *, in_json: bool = False) -> None:
        self._words = words
        self._in_json = in_json
        self.begun: list[Character] = []
        """The beginning of a tag that the text ends with."""

    def read(self, characters: list[Character], *, last: bool = False) -> list[Character]:
        """Return the characters that *characters* complete; *last*: the text ends with them."""
        characters, self.begun = self.begun + characters, []
        text = "".join(map(self._sign, characters))
        found: list[Character] = []
        at, place = 0, text.find("<")
        while place >= 0:
            if tag := _TAG.match(text, place, place + LIMIT):
                found += characters[at:place]
                at = tag.end()
                found += self._one(characters[place:at])
            elif not last and len(text) - place < LIMIT and _BEGUN.fullmatch(text, place):
                self.begun = characters[place:]
                return found + characters[at:place]
            place = text.find("<", max(at, place + 1))
        return found + characters[at:]

    def _sign(self, character: Character) -> str:
        """Return what *character* is to a tag; an entity is only text."""
        if self._in_json and character.is_quote:
            return _STOP
        return character.says if character.spelled[:1] != "&" or character.says == "&" else HALF_PAIR

    def _one(self, characters: list[Character]) -> list[Character]:
        scanner = Scanner(self._words)
        found = scanner.feed("".join(one.says for one in characters))
        begun = scanner.held
        found = [*found, *scanner.finish()]
        if begun or scanner.ended:
            return characters
        spelled = [one.spelled for one in characters]
        masked = json_text.masked if self._in_json else masked_prose
        for one in found:
            place = slice(one.start, one.end)
            spelled[place] = masked(characters[place], one.term.entry.mask)
        return [Character(TAG, "".join(spelled), characters[0].inside)]


def masked_prose(characters: Sequence[Character], sign: str) -> list[str]:
    """Return the spellings of a term with its mask *sign* on: of one character it stands for each; tags stay."""
    found = []
    for character in characters:
        if character.says == TAG:
            found.append(character.spelled)
        else:
            found.append(sign)
            sign = sign if len(sign) == 1 else ""
    return found
