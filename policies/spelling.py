"""How a channel's text is read: what its characters say, and how each is spelled. Sans-I/O.

In prose a character may stand as a JSON escape, which a client decodes, or as an entity of HTML, which a page shows.
Arguments and answers in JSON are JSON first, and prose then: what they say may be escaped once more.
"""

import re
from collections.abc import Sequence
from html.entities import html5
from typing import Protocol

from policies import json_text
from policies.json_text import HALF_PAIR, Character, JsonText

MARKS = frozenset("\\&")
"""An escape begins with one of these."""
_SLASH = r"\\{1,8}"
"""Before the u of an escape: escaped again and again, each time it stands behind twice as many."""
_HIGH, _LOW = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = (
    rf"{_SLASH}u(?P<high>{_HIGH}){_SLASH}u(?P<low>{_LOW})|{_SLASH}u(?P<code>[0-9a-fA-F]{{4}})"
    r"|&\#(?:[xX](?P<hex>[0-9a-fA-F]{1,24})|(?P<decimal>[0-9]{1,24}));?|&(?P<name>[A-Za-z][A-Za-z0-9]{1,31});"
)
_BEGUN = (
    rf"{_SLASH}(?:u(?:[0-9a-fA-F]{{0,3}}|{_HIGH}(?:{_SLASH}(?:u[0-9a-fA-F]{{0,3}})?)?))?\Z"
    r"|&(?:\#(?:[xX][0-9a-fA-F]{0,24}|[0-9]{0,24})|[A-Za-z][A-Za-z0-9]{0,31})?\Z"
)
_GROWING = re.compile(f"(?P<begun>{_BEGUN})|{_ESCAPE}")
_WHOLE = re.compile(_ESCAPE)


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
    """Reads what a person is shown."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: list[Character] = []

    @property
    def begun(self) -> bool:
        return bool(self._begun)

    def feed(self, text: str) -> list[Character]:
        return self.read([Character(says, says, inside=False) for says in text])

    def finish(self) -> list[Character]:
        return self.read([], _WHOLE)

    def leave(self) -> list[Character]:
        """Let the beginning of an escape go as `finish` does, but know of it where the text goes on after all."""
        gone = [one._replace(spelled="") for one in self._begun]
        rest, self._begun = self.finish(), gone
        return rest

    def read(self, characters: list[Character], pattern: re.Pattern[str] = _GROWING) -> list[Character]:
        """Read text that has been read once already, by *characters*."""
        characters, self._begun = self._begun + characters, []
        found: list[Character] = []
        at = 0
        for match in pattern.finditer("".join(one.says for one in characters)):
            first, end = match.span()
            found += characters[at:first]
            at = end
            if match.lastgroup == "begun":
                self._begun = characters[first:]
            elif says := _meaning(match):
                spelled = "".join(one.spelled for one in characters[first:end])
                found.append(Character(says, spelled, characters[first].inside))
            else:
                found += characters[first:end]
        return found + characters[at:]

    def masked(self, characters: Sequence[Character], sign: str) -> list[str]:
        if len(sign) == 1:
            return [sign] * len(characters)
        return [sign, *[""] * (len(characters) - 1)]

    def passed(self, text: str) -> None:
        """Nothing: no place in prose is another's."""

    def rewind(self, held: Sequence[Character]) -> None:
        """Nothing, as `passed`."""


class Json:
    """Reads JSON, in whose strings prose stands."""

    __slots__ = ("_prose", "_text")

    def __init__(self) -> None:
        self._text = JsonText()
        self._prose = Prose()

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


def _meaning(escape: re.Match[str]) -> str:
    """Return the one character that *escape* stands for, "" for none."""
    if name := escape["name"]:
        return html5.get(f"{name};", "")[:1]
    if escape["high"]:
        return chr(0x10000 + ((int(escape["high"], 16) - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00)
    decimal = escape["decimal"]
    point = int(decimal) if decimal else int(escape["code"] or escape["hex"], 16)
    return HALF_PAIR if 0xD800 <= point < 0xE000 or point > 0x10FFFF else chr(point)
