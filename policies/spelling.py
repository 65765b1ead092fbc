"""How a channel's text is read: what its characters say, and how each is spelled. Sans-I/O.

In prose a character may stand as a JSON escape, which a client decodes, or as an entity of HTML, which a page shows;
and tags may stand between characters (`policies/tags.py`). Arguments and answers in JSON are JSON first, and prose
then: what they say may be escaped once more.
"""

import re
from collections.abc import Iterator, Sequence
from html.entities import html5
from typing import Protocol

from keywords.live import stands
from keywords.words import Words
from policies import json_text
from policies.json_text import HALF_PAIR, Character, JsonText
from policies.tags import NO_WORDS, Tags, masked_prose

MARKS = frozenset("\\&<")
"""An escape or a tag begins with one of these."""
_SLASH = r"\\{1,8}"
"""Before the u of an escape: escaped again and again, each time it stands behind twice as many."""
_HIGH, _LOW = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}"
_NAME = "[A-Za-z][A-Za-z0-9]{1,31}+"
_ESCAPE = (
    rf"{_SLASH}u(?P<high>{_HIGH}){_SLASH}u(?P<low>{_LOW})|{_SLASH}u(?P<code>[0-9a-fA-F]{{4}})"
    rf"|&\#(?P<number>[xX][0-9a-fA-F]++|[0-9]++);?|&(?P<name>{_NAME};?)"
)
_BEGUN = (
    rf"{_SLASH}(?:u(?:[0-9a-fA-F]{{0,3}}|{_HIGH}(?:{_SLASH}(?:u[0-9a-fA-F]{{0,3}})?)?))?\Z"
    r"|&(?:\#(?:[xX][0-9a-fA-F]*+|[0-9]*+)|[A-Za-z][A-Za-z0-9]{0,31})?\Z"
)
_GROWING = re.compile(f"(?P<begun>{_BEGUN})|{_ESCAPE}")
_WHOLE = re.compile(_ESCAPE)
_WITHOUT_END = re.compile("|".join(sorted((name for name in html5 if not name.endswith(";")), key=len, reverse=True)))
"""The old names, which are read without their semicolon, whatever comes behind them."""
_DIGITS = 8
"""Digits after which a number, hexadecimal or decimal, is none of a character, whatever comes behind them."""
_MANY = 32
"""Signs of a number that grows from which on they are put together."""
_MOST = 2_000
"""Signs of an entity, nearly all zeros, from which on it is read as it stands: what is begun is held no longer."""


class Reader(Protocol):
    """Reads a growing text by its characters; those that are no escape stand for themselves."""

    @property
    def begun(self) -> bool:
        """Whether the text ends with the beginning of an escape, which has not been returned yet."""

    def feed(self, text: str) -> list[Character]:
        """Return the characters that *text* completes."""

    def finish(self) -> list[Character]:
        """Return what the end of the text leaves of an escape: it stands for itself."""

    def masked(self, characters: Sequence[Character], sign: str) -> list[str]:
        """Return the spellings of a term, one for each character, with its mask *sign* on."""

    def passed(self, text: str) -> None:
        """Know of *text*, in which there is no escape, without reading it."""

    def rewind(self, held: Sequence[Character]) -> None:
        """Go back to before *held*, in which there is no escape; it will be read again or passed."""


class Prose:
    """Reads what a person is shown.

    What might be read in two ways, a tag or an entity without its end, is read as it stands if one of *words* does.
    *in_json*: it stands in strings of JSON.
    """

    __slots__ = ("_begun", "_tags", "_words")

    def __init__(self, words: Words = NO_WORDS, *, in_json: bool = False) -> None:
        self._words = words
        self._begun: list[Character] = []
        self._tags = Tags(words, in_json=in_json)

    @property
    def begun(self) -> bool:
        return bool(self._begun or self._tags.begun)

    def feed(self, text: str) -> list[Character]:
        return self.read([Character(says, says, inside=False) for says in text])

    def finish(self) -> list[Character]:
        return self._tags.read(list(self._unescaped([], _WHOLE)), last=True)

    def leave(self) -> list[Character]:
        """Let what has begun go as `finish` does, but know of it where the text goes on after all."""
        tag, escape = ([one._replace(spelled="") for one in begun] for begun in (self._tags.begun, self._begun))
        rest = self.finish()
        self._tags.begun, self._begun = tag, escape
        return rest

    def read(self, characters: list[Character]) -> list[Character]:
        """Read text that has been read once already, by *characters*."""
        return self._tags.read(list(self._unescaped(characters, _GROWING)))

    def _unescaped(self, characters: list[Character], pattern: re.Pattern[str]) -> Iterator[Character]:
        characters, self._begun = self._begun + characters, []
        at = 0
        for match in pattern.finditer("".join(one.says for one in characters)):
            first, end = match.span()
            yield from characters[at:first]
            at = end
            if match.lastgroup == "begun":
                begun = characters[first:] if end - first < _MANY else _shortened(characters[first:])
                if sum(len(one.spelled) for one in begun) <= _MOST:
                    self._begun = begun
                else:
                    yield from begun
            elif name := match["name"]:
                says, length = self._named(name)
                at = first + length
                yield from _one(says, characters[first:at])
            else:
                yield from _one(_meaning(match), characters[first:end])
        yield from characters[at:]

    def _named(self, name: str) -> tuple[str, int]:
        """Return what the entity *name* says, "" for nothing, and how many characters it takes, its ``&`` included."""
        if name.endswith(";") and (says := html5.get(name)):
            return says, 1 + len(name)
        old = _WITHOUT_END.match(name)
        if old is None or stands(self._words, f"&{name}"):
            return "", 0
        return html5[old[0]], 1 + old.end()

    def masked(self, characters: Sequence[Character], sign: str) -> list[str]:
        return masked_prose(characters, sign)

    def passed(self, text: str) -> None:
        """Nothing: no place in prose is another's."""

    def rewind(self, held: Sequence[Character]) -> None:
        """Nothing, as `passed`."""


class Json:
    """Reads JSON, in whose strings prose stands."""

    __slots__ = ("_prose", "_text")

    def __init__(self, words: Words = NO_WORDS) -> None:
        self._text = JsonText()
        self._prose = Prose(words, in_json=True)

    @property
    def begun(self) -> bool:
        return bool(self._text.begun) or self._prose.begun

    def feed(self, text: str) -> list[Character]:
        return self._prose.read(self._text.feed(text))

    def finish(self) -> list[Character]:
        return self._prose.read(self._text.finish()) + self._prose.finish()

    def masked(self, characters: Sequence[Character], sign: str) -> list[str]:
        return json_text.masked(characters, sign)

    def passed(self, text: str) -> None:
        if '"' in text and text.count('"') % 2:
            self._text.inside = not self._text.inside

    def rewind(self, held: Sequence[Character]) -> None:
        if held:
            self._text.inside = held[0].inside


def _one(says: str, characters: list[Character]) -> list[Character]:
    """Return what *characters*, if any, say together; the last one has all of their spelling."""
    if not characters:
        return []
    inside = characters[0].inside
    spelled = "".join(one.spelled for one in characters)
    return [*(Character(one, "", inside) for one in says[:-1]), Character(says[-1], spelled, inside)]


def _shortened(begun: list[Character]) -> list[Character]:
    """Return the beginning of a number in as few characters as tell what it says, however many it is spelled with."""
    if begun[1].says != "#":
        return begun
    first = 3 if begun[2].says in "xX" else 2
    worth = next((place for place in range(first, len(begun)) if begun[place].says != "0"), len(begun))
    more = worth + _DIGITS
    return [*begun[:first], *_one("0", begun[first:worth]), *begun[worth:more], *_one("0", begun[more:])]


def _meaning(escape: re.Match[str]) -> str:
    """Return the one character that *escape*, a number, stands for."""
    if escape["high"]:
        return chr(0x10000 + ((int(escape["high"], 16) - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00)
    point = int(escape["code"], 16) if escape["code"] else _point(escape["number"])
    return HALF_PAIR if 0xD800 <= point < 0xE000 or point > 0x10FFFF else chr(point)


def _point(number: str) -> int:
    """Return the code point that a browser shows for the *number* of an entity."""
    base, digits = (16, number[1:]) if number[0] in "xX" else (10, number)
    point = int(digits.lstrip("0")[:_DIGITS] or "0", base)
    if 0x80 <= point < 0xA0:
        return ord(bytes([point]).decode("cp1252", "replace"))
    return point or 0xFFFD
