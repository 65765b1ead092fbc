r"""The words of a plain text. One a line is the rule, but the public lists are not of one mould.

What stands in them (houbb/sensitive-word, importcjj/sensitive, konsheng/Sensitive-lexicon), and how it is read:

=====================================  ================================================================================
``# words``, blank                     no words, counted as comments and blank
``word,`` ``a,b`` ``a、b`` ``a|b``       one word each; the signs are ``, ， 、 | ｜ ; ；``
``真、善、忍`` ``法+輪+功``               all of one character: one word, written apart
``疫情+红会+政府``                       a combination of 2 to 5 parts
``拍肩,药``                             two parts, one of them a single character: a combination; 药 alone says nothing
``TMD=>真美妙`` ``地震=地灾``             the word, and as a tag what others put in its place
``word<TAB>…``                         more columns: a risk's id, an action, a number (weights are dropped), longer
                                       words that contain the word (exceptions), else a tag
``word,3`` ``word,A1f`` ``word,block``   the same columns behind a comma
``word,tag``                           a tag, where nine lines in ten are pairs and their second halves repeat
``word 1``                             a weight, where half of the lines end in a number; else part of the word
``国内政要人物：``                        a heading: reported
=====================================  ================================================================================

Blanks within a word (``法 轮 功``) stay, for the fold drops them, and so does ``/``, of which addresses are full.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from keywords.cells import Row, Wordless, cell_of
from keywords.entry import Action, Match
from keywords.risks import RISKS

HEADING = "is a heading, not a word"

_SIGNS = re.compile(r"[,，、|｜;；]")
_COMBINATION = re.compile(r"[^+=]+(?:\+[^+=]+)+")
_REPLACED = re.compile(r"([^=+/?]+)=>?(.*)")
_WEIGHTED = re.compile(r"(\S.*?)\s+[0-9]+(?:\.[0-9]+)?")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,6})?")


class _Layout(NamedTuple):
    """Whether most lines of a text end in a weight, or in a tag."""

    weights: bool
    tags: bool


def text_rows(lines: Sequence[str | bytes]) -> Iterator[Row]:
    """Yield the words of *lines*; one that is bytes is not in the encoding of the others."""
    layout = _layout([line.strip() for line in lines if isinstance(line, str) and line.strip()])
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            yield Row(number, line.decode("utf-8", "replace"), "is not in the encoding of the other lines")
            continue
        text = line.strip()
        if not text or text.startswith("#"):
            yield Row(number, text, Wordless.COMMENT if text else Wordless.BLANK)
        elif text.endswith((":", "：")):
            yield Row(number, text, HEADING)
        else:
            yield from (Row(number, text, cells) for cells in _words(text, layout))


def _layout(lines: Sequence[str]) -> _Layout:
    pairs = [halves for line in lines if len(halves := _parts(line)) == 2]
    seconds = Counter(second for _, second in pairs)
    return _Layout(
        weights=2 * sum(_WEIGHTED.fullmatch(line) is not None for line in lines) >= len(lines),
        tags=len(pairs) * 10 >= len(lines) * 9 and len(seconds) * 2 <= len(pairs),
    )


def _parts(text: str) -> list[str]:
    return [part for piece in _SIGNS.split(text) if (part := piece.strip())]


def _words(text: str, layout: _Layout) -> Iterator[dict[str, str]]:
    """Yield the cells of each word of one line."""
    first, *columns = (column.strip() for column in text.split("\t"))
    if layout.weights and (weighted := _WEIGHTED.fullmatch(first)):
        first = weighted[1]
    if _COMBINATION.fullmatch(first):
        parts = [part.strip() for part in first.split("+")]
        yield {**_several(parts), **_columns(first, columns)}
        return
    if replaced := _REPLACED.fullmatch(first):
        first = replaced[1].strip()
        columns += [tag for tag in [replaced[2].strip()] if any(map(str.isalnum, tag))]
    parts = _parts(first)
    words = [part for part in parts if not _is_column(part)] or parts
    if layout.tags and len(parts) == len(words) == 2:
        words = words[:1]
    columns = [*(part for part in parts if part not in words), *columns]
    if len(words) > 1 and min(map(len, words)) == 1 and (len(words) == 2 or max(map(len, words)) == 1):
        yield {**_several(words), **_columns(first, columns)}
    else:
        yield from ({"term": word, **_columns(word, columns)} for word in words or [first])


def _several(parts: Sequence[str]) -> dict[str, str]:
    """Return one word that is written apart, or a combination."""
    if max(map(len, parts)) == 1:
        return {"term": "".join(parts)}
    return {"term": " & ".join(parts), "match": Match.COMBO.value}


def _is_column(part: str) -> bool:
    """Return whether *part* says something about a word and is none."""
    return part in RISKS or part.lower() in list(Action) or _NUMBER.fullmatch(part) is not None


def _columns(term: str, columns: Iterable[str]) -> dict[str, str]:
    """Return what the columns behind *term* mean."""
    cells: dict[str, str] = {}
    tags = []
    for column in columns:
        if column in RISKS:
            cells["risk"] = column
        elif column.lower() in list(Action):
            cells["action"] = column
        elif (longer := _parts(column)) and all(term in word and term != word for word in longer):
            cells["exceptions"] = cell_of(tuple(longer))
        elif column and not _is_column(column):
            tags.append(column)
    return {**cells, "tags": cell_of(tuple(tags))} if tags else cells
