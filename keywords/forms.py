"""Other readings of a text in which a word is hidden: apart, backwards, doubled, in lookalikes, in halves, encoded.

A fold (folding.py) sees one character at a time. What needs its neighbours is read here, and each reading is then
folded and searched as the text itself. All of it is linear in the text, whatever the text is.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from keywords.components import joins
from keywords.decoding import decoded, turned
from keywords.possessive import compiled


@dataclass(frozen=True, slots=True)
class Form:
    """Another reading of a text, to be folded and searched like it.

    *origin*: for each character of *text* the index of the one in the original that it stands for (for a character
    made of several: the first of these); None: the text was decoded and stands for the whole original. Terms with
    fewer folded characters than *fewest* are not looked for.
    """

    name: str
    text: str
    origin: Sequence[int] | None
    fewest: int = 2
    is_payload: bool = False
    """Whether it was decoded, so that nobody has yet looked at its sound and for expressions."""


_IDEOGRAPH = "\u3400-\u9fff\uf900-\ufaff\u3005\u3007\u3040-\u31ff\uac00-\ud7af\U00020000-\U0003ffff"
_LETTER = rf"(?:(?![{_IDEOGRAPH}])[^\W_])"
"""A letter or digit of a script whose words are more than one of them."""

_LAUGHS = "哈呵嘿嘻啊嗯哦呜"
"""Ideographs that people write many of, and no term has."""
_REPEATED = re.compile(rf"(?![{_LAUGHS}])([^\W\d_])\1(?:\1|([^\W\d_])\2)")
_MANY = re.compile(rf"(?:(?![{_LAUGHS}])([{_IDEOGRAPH}])\1++){{2,}}+|(?![{_LAUGHS}])([{_IDEOGRAPH}])\2\2++")
"""Ideographs in threes and more, or several after each other that are all doubled."""
_WORD = re.compile(f"{_LETTER}+")
_STRETCHED = re.compile(r"([^\W\d_])\1\1|(?:([^\W\d_])\2){3}", re.IGNORECASE)
_RUN = re.compile(r"([^\W\d_])\1+", re.IGNORECASE)
_MOST_CHOICES = 3
"""Runs of a word that are read both as one letter and as two: kiiilll is kill."""
_LONG = 20_000
"""Characters from which on fewer such choices are made."""

_APART = re.compile(rf"[\W_](?:[{_IDEOGRAPH}][\W_]|{_LETTER}[\W_]{{1,3}}{_LETTER}(?!{_LETTER}))")
"""What the middle of each chain looks like: searched first, because it costs a tenth."""
_CHAIN = re.compile(
    rf"[{_IDEOGRAPH}](?:[\W_]{{1,3}}[{_IDEOGRAPH}]){{2,}}"
    rf"|(?<!{_LETTER}){_LETTER}(?:[\W_]{{1,3}}{_LETTER}(?!{_LETTER})){{2,}}"
)
"""Ideographs or letters one at a time; mixed they are the numbers of a list and its sentences."""
_BETWEEN = re.compile(r"[\W_]+")
_THREADED = re.compile(rf"([A-Za-z0-9]{{1,2}})[{_IDEOGRAPH}](?:\1[{_IDEOGRAPH}])+")
_THREAD = re.compile("[A-Za-z0-9]+")

_PLAIN = "A-Za-zＡ-Ｚａ-ｚ"
_FOREIGN = "\u0370-\u052f\u0530-\u058f\u13a0-\u13f5"
"""Greek, Cyrillic, Armenian, Cherokee."""
_ALPHABETS = {
    "аАӓӒᎪɑᴀαΑ": "a", "вВᏴʙᴃβΒ": "b", "сСϲᏟᴄ": "c", "ԁᎠᴅ": "d", "еЕёЁєЄεΕᎬᴇэЭ": "e", "ꜰƒ": "f", "ԌᏀɡɢց": "g",
    "һҺНнᎻʜհΗ": "h", "іІїЇιΙᎥɪı": "i", "јЈᎫᴊյ": "j", "кКκΚᏦᴋ": "k", "ʟᏞłŁ": "l", "мМΜᎷᴍ": "m", "ոηΝɴпП": "n",
    "оОοΟσօᴏøØ": "o", "рРρΡᏢᴘ": "p", "ԛԚ": "q", "гГᎡʀяЯ": "r", "ѕЅᏚꜱ": "s", "тТτΤᎢᴛ": "t", "υսᴜцЦ": "u", "ѵνᏙᴠ": "v",
    "ԝԜѡωᎳᴡшШ": "w", "хХχΧ": "x", "уУγΥʏү": "y", "ΖᏃᴢ": "z",
}  # fmt: skip
_SIGNS = {"0０": "o", "3３€": "e", "4４@＠": "a", "5５$＄": "s", "7７": "t", "8８": "b", "9９": "g", "1１!|": "i"}
_ENCLOSED = {first + place: chr(97 + place) for first in (0x1F150, 0x1F170, 0x1F1E6) for place in range(26)}
"""🅐, 🅰 and 🇦: symbols to the fold, letters to the eye."""
_AS_LATIN = {ord(c): letter for table in (_ALPHABETS, _SIGNS) for row, letter in table.items() for c in row} | _ENCLOSED
_ONE_AS_L = _AS_LATIN | dict.fromkeys(map(ord, "1１!|"), "l")
_LOOKALIKE = "".join(c for row in _ALPHABETS for c in row if not re.match(f"[{_FOREIGN}]", c)) + "🅐-🅩🅰-🆉🇦-🇿"
_FIGURES = "01345789０１３４５７８９"
_INNER = f"{_PLAIN}0-9０-９@＠$＄€{_FOREIGN}{_LOOKALIKE}"
_DISGUISED = re.compile(
    f"[{_PLAIN}][{_FIGURES}@＠$＄€!|{_FOREIGN}]|[{_FIGURES}@＠$＄€{_FOREIGN}][{_PLAIN}]|[{_LOOKALIKE}]"
)
_LOOKED_AT = compiled(rf"[{_INNER}]++(?:[!|][{_INNER}]++)*+")
_HAS_PLAIN = re.compile(f"[{_PLAIN}]")
_HAS_FOREIGN = re.compile(f"[{_FOREIGN}]")
_DIGIT = re.compile("[0-9０-９]")
_SHORTEST = 3
_LONGEST = 24
"""Characters of a word that somebody reads; what is longer is an id."""

_LATIN = re.compile("[A-Za-z]+")
_BOTH_WAYS = frozenset(
    re.findall(
        "[a-z]+",
        """
        are bad bag bat bats bin but dab dam decaf deliver denim devil diaper dog dogs doom door drawer draw
        edit emit evil flow gab gals gay gel ges god gulp gum gun guns keep keels lager lair lap lana laud
        lee leg liar live lived loop mad mar mat maps meet mood mug nab nap nat net nip nit not now nun nub
        pal pan par part parts pat paws peek peels pets pin pit plug pool pools pot pots ram rap rat rats
        raw reed regal repaid reviled reward room saw sag ships sleep slap slip sloop smart smug snap snips
        snot snug speed spin spit spot spots stab star stop strap straw stressed stun swap tab tap tar ten
        time tips tit ton tool top tops trap tug tun ward was wolf won yag yam
        """,
    )
)
"""Words that are words backwards as well; they are what they are."""


def forms(text: str, *, encoded: bool = True) -> Iterator[Form]:
    """Yield the readings of *text* that may hide something; without *encoded* none of its payloads. Never raises.

    Of an ordinary text only those are left that nothing announces: it backwards, and its Latin words by rot13.
    """
    yield from _readings(text, "")
    for code, plain in decoded(text) if encoded else turned(text):
        if code.endswith("rot13"):  # of any Latin words; other tricks upon it would be one too many
            yield Form(code, plain, None, fewest=4)
            continue
        yield Form(code, plain, None, is_payload=True)
        for form in _readings(plain, f"{code}+"):
            yield Form(form.name, form.text, None, form.fewest)


def of_payload(text: str) -> Iterator[Form]:
    """Yield the readings of *text* that was decoded from another, itself among them. Never raises."""
    yield Form("", text, range(len(text)), is_payload=True)
    yield from forms(text, encoded=False)


def _readings(text: str, outer: str) -> Iterator[Form]:
    """Yield the readings of *text* that are made of its own characters."""
    whole = Form("", text, range(len(text)))
    if _REPEATED.search(text):
        yield from (_spliced(f"{outer}repeats", whole, edits) for edits in _repeats(text))
    for apart in _together(f"{outer}separated", whole):
        yield apart
        yield from _joined(f"{outer}separated+components", apart)
        if _DISGUISED.search(apart.text):
            yield from (Form(f"{outer}separated+homoglyphs", read, apart.origin) for read in _undisguised(apart.text))
    for joined in _joined(f"{outer}components", whole):
        yield joined
        yield from _together(f"{outer}components+separated", joined)
    if _DISGUISED.search(text):
        yield from (Form(f"{outer}homoglyphs", read, range(len(text))) for read in _undisguised(text))
    if len(text) > 2:
        yield Form(f"{outer}reversed", _backwards(text), range(len(text) - 1, -1, -1), fewest=3)


Edit = tuple[int, int, str]
"""Start and end of what is replaced, and by what."""


def _spliced(name: str, form: Form, edits: Iterable[Edit]) -> Form:
    """Return *form* with *edits*, which come from left to right and do not touch each other."""
    text, source = form.text, form.origin or ()
    parts: list[str] = []
    origin: list[int] = []
    last = 0
    for start, end, replacement in edits:
        parts += (text[last:start], replacement)
        origin += source[last:start]
        origin += [source[start]] * len(replacement)
        last = end
    parts.append(text[last:])
    origin += source[last:]
    return Form(name, "".join(parts), origin)


def _joined(name: str, form: Form) -> Iterator[Form]:
    """Yield *form* with halves of characters put together, where it has any."""
    edits = list(joins(form.text))
    if edits:
        yield _spliced(name, form, edits)


def _together(name: str, form: Form) -> Iterator[Form]:
    """Yield *form* with characters that stand apart put together, where it has any."""
    yield from (_spliced(name, form, edits) for edits in _separators(form.text))


def _repeats(text: str) -> Iterator[list[Edit]]:
    """Yield ways to shorten what is written several times.

    An ideograph is left once; a run of letters once or, in another way, twice, since words have double letters.
    """
    fixed = [
        (many.start() + run.start(), many.start() + run.end(), run[1])
        for many in _MANY.finditer(text)
        for run in _RUN.finditer(many[0])
    ]
    runs = [
        [(word.start() + run.start(), word.start() + run.end(), run[1]) for run in _RUN.finditer(word[0])]
        for word in _WORD.finditer(text)
        if _STRETCHED.search(word[0])
    ]
    if not fixed and not runs:
        return
    choices = min(_MOST_CHOICES, max(map(len, runs), default=0))
    for way in range(2 ** (choices if len(text) < _LONG else min(choices, 1))):
        chosen = [
            (start, end, letter * (1 + (way >> place & 1)))
            for word in runs
            for place, (start, end, letter) in enumerate(word)
        ]
        yield sorted(fixed + chosen)


def _separators(text: str) -> Iterator[list[Edit]]:
    """Yield what to leave out of *text* so that characters that stand apart stand together."""
    threaded = [(match.start(), match.end()) for match in _THREADED.finditer(text)]
    if threaded:
        yield _without(text, _THREAD, threaded)
    if not _APART.search(text):
        return
    chains = [(match.start(), match.end()) for match in _CHAIN.finditer(text)]
    if not chains:
        return
    yield _without(text, _BETWEEN, chains)
    if any(text[start] in "aAiI" for start, _ in chains):  # "a f u c k": the article is no part of the word
        yield _without(text, _BETWEEN, [(start + 2 * (text[start] in "aAiI"), end) for start, end in chains])


def _without(text: str, separator: re.Pattern[str], places: Iterable[tuple[int, int]]) -> list[Edit]:
    return [(match.start(), match.end(), "") for start, end in places for match in separator.finditer(text, start, end)]


def _undisguised(text: str) -> Iterator[str]:
    """Yield *text* with the lookalikes in its words as Latin letters: 1 as i and, where that differs, as l."""
    read = _LOOKED_AT.sub(lambda word: word[0].translate(_AS_LATIN) if _is_disguised(word[0]) else word[0], text)
    if read == text:
        return
    yield read
    other = _LOOKED_AT.sub(lambda word: word[0].translate(_ONE_AS_L) if _is_disguised(word[0]) else word[0], text)
    if other != read:
        yield other


def _is_disguised(word: str) -> bool:
    """Return whether *word* is a Latin one with other signs in it, and no Cyrillic word, number, model or id."""
    if not _SHORTEST <= len(word) <= _LONGEST or (word.isascii() and word.isalpha()):
        return False
    if _HAS_FOREIGN.search(word) and not _HAS_PLAIN.search(word):
        return False
    digits = len(_DIGIT.findall(word))
    letters = len(word) - digits
    return letters >= digits or (letters >= 2 and digits <= letters + 1)


def _backwards(text: str) -> str:
    """Return *text* from its end to its begin, without the words that are words both ways."""
    words = _LATIN.findall(text)
    if words and not _BOTH_WAYS.isdisjoint(map(str.lower, words)):
        text = _LATIN.sub(lambda word: " " * len(word[0]) if word[0].lower() in _BOTH_WAYS else word[0], text)
    return text[::-1]
