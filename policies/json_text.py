"""JSON that comes as text, piece by piece: what each of its characters says, and how it is spelled. Sans-I/O.

A model writes the arguments of a tool call as JSON, and a word may stand in them as itself or in escapes. What is
judged is what they say; what leaves is how it was spelled.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HALF_PAIR = "\ufffd"
"""What half a surrogate pair says: no character; the folds take it for a symbol."""
TAG = "\ufffc"
"""What a tag of markup says: an object, which the folds take for a symbol. No mask replaces it."""
SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
_HIGH, _LOW = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf'\\(?:u({_HIGH})\\u({_LOW})|u([0-9a-fA-F]{{4}})|([bfnrt"\\/]))')
_BEGUN = re.compile(rf"\\(?:u(?:[0-9a-fA-F]{{0,3}}|{_HIGH}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?))?\Z")
"""An escape that ends with the text, and of which more may come; half a pair is one."""
_BARE = frozenset('{}[],:"+-. \t\r\n')
"""What JSON is built of outside of its strings, beside words and digits."""
_DIGITS = frozenset("0123456789")
_BARE_WORD = re.compile(r"true|false|null|[-+.0-9eE]+")


class Character(NamedTuple):
    """One character: what it *says*, how it is *spelled*, and whether it stands *inside* of a string."""

    says: str
    spelled: str
    inside: bool

    @property
    def is_quote(self) -> bool:
        """Whether a string begins or ends with it."""
        return self.spelled == '"'


class JsonText:
    """Reads a growing text by its characters; what is no JSON is read as it stands, and breaks nothing."""

    __slots__ = ("begun", "inside")

    def __init__(self) -> None:
        self.begun = ""
        """The beginning of an escape that the text ends with."""
        self.inside = False
        """Whether a string is open behind the last character read."""

    def feed(self, text: str) -> list[Character]:
        """Return the characters that *text* completes."""
        text, self.begun = self.begun + text, ""
        if "\\" in text:
            return list(self._read(text))
        return [self._character(says, says) for says in text]

    def finish(self) -> list[Character]:
        """Return what the end of the text leaves of an escape: it stands for itself."""
        rest, self.begun = self.begun, ""
        return list(self._read(rest, last=True))

    def _read(self, text: str, *, last: bool = False) -> Iterator[Character]:
        at = 0
        while at < len(text):
            if text[at] == "\\" and not last and _BEGUN.match(text, at):
                self.begun = text[at:]
                return
            escape = _ESCAPE.match(text, at)
            if escape is None:
                yield self._character(text[at], text[at])
                at += 1
            else:
                yield self._character(_meaning(escape), escape[0])
                at = escape.end()

    def _character(self, says: str, spelled: str) -> Character:
        character = Character(says, spelled, self.inside)
        if spelled == '"':
            self.inside = not self.inside
        return character


def _meaning(escape: re.Match[str]) -> str:
    high, low, code, simple = escape.groups()
    if simple:
        return SIMPLE[simple]
    if high:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    point = int(code, 16)
    return HALF_PAIR if 0xD800 <= point < 0xE000 else chr(point)


def masked(characters: Sequence[Character], sign: str) -> list[str]:
    """Return the spellings of a term with its mask *sign* on, such that JSON stays JSON.

    In strings, all but their quotes is masked: a sign of one character stands for each character, a longer one for all
    of them. Outside of strings digits become ones, and ``true``, ``false``, ``null`` and what JSON is built of stay.
    """
    bare_word = _BARE_WORD.fullmatch("".join(character.says for character in characters))
    spelled = json.dumps(sign, ensure_ascii=False)[1:-1]
    found = []
    for character in characters:
        if not character.inside and character.says in _DIGITS:
            found.append("1")
        elif (
            character.is_quote
            or character.says == TAG
            or (not character.inside and (bare_word or character.says in _BARE))
        ):
            found.append(character.spelled)
        else:
            found.append(spelled)
            spelled = spelled if len(sign) == 1 else ""
    return found
