"""Phrases that no list has, found by what inducing texts have and harmless ones lack."""

from collections import Counter
from collections.abc import Iterable, Iterator

from keywords.entry import Action, Entry
from keywords.folding import KEPT, SQUEEZED, is_ideograph

MINED = "mined"
"""Source of entries that come from `mine`."""
MINED_FEWEST = 3
MINED_LIFT = 10.0
"""Phrases are many, so more of them than of list words have a lift by chance."""
LONGEST = 8
"""Folded characters of a mined phrase; the shortest has 2."""
FRAGMENT = 0.8
"""A phrase that is part of a longer one in this share of its texts is a fragment of it."""
_GRAMMAR = frozenset(
    "的了吗呢吧啊么我你您他她它们这那哪谁何怎什为是在有和与或及并但而且就都也还又不没能可会要想让把被给对向从到于以用地得着"
    "过请帮些个一种几多很最更如果因所之其该某己"
)
"""Characters of questions and sentences, not of subjects: with them `mine` would learn a data set's way of asking."""
_EDGES = frozenset("来上下里中时去进行出再")
"""Characters at which a phrase may not begin or end: there they belong to the words around it."""


def mine(
    inducing: Iterable[str], harmless: Iterable[str], *, fewest: int = MINED_FEWEST, lift: float = MINED_LIFT
) -> list[str]:
    """Return phrases, folded, that are *lift* times as frequent in *inducing* texts as in *harmless* ones.

    They stand in *fewest* inducing texts or more, have no characters of grammar, and are no fragments of longer ones;
    the most frequent come first. They are proposals: somebody should read them.
    """
    bad = [SQUEEZED.text(text) for text in inducing]
    good = [SQUEEZED.text(text) for text in harmless]
    counts = Counter(gram for text in bad for gram in set(_grams(text)))
    frequent = {gram: count for gram, count in counts.items() if count >= fewest}
    within: Counter[str] = Counter()
    for gram, count in frequent.items():
        for part in (gram[1:], gram[:-1]):
            within[part] = max(within[part], count)
    whole = {gram for gram, count in frequent.items() if within[gram] < FRAGMENT * count and _is_subject(gram)}
    met = Counter(gram for text in good for gram in set(occurring(text, whole)))
    return sorted(
        (gram for gram in whole if frequent[gram] * len(good) >= lift * (met[gram] + 0.5) * len(bad)),
        key=lambda gram: (-frequent[gram], gram),
    )


def mined(phrases: Iterable[str], *, risk: str, action: Action = Action.JUDGE) -> list[Entry]:
    """Return entries, without ids, of mined *phrases*; they say where they are from."""
    note = "mined from inducing texts; to be read by somebody"
    return [Entry(id=0, term=phrase, risk=risk, action=action, source=MINED, note=note) for phrase in phrases]


def _grams(text: str) -> Iterator[str]:
    stops = KEPT | _GRAMMAR
    for start in range(len(text)):
        for end in range(
            start + 2, start + LONGEST + 2
        ):  # one more: a phrase of the full length may be a fragment, too
            if end > len(text) or text[end - 1] in stops or text[start] in stops:
                break
            yield text[start:end]


def _is_subject(gram: str) -> bool:
    return (
        len(gram) <= LONGEST and gram[0] not in _EDGES and gram[-1] not in _EDGES and sum(map(is_ideograph, gram)) >= 2
    )


def occurring(text: str, phrases: set[str]) -> Iterator[str]:
    """Yield each of *phrases* that a folded *text* has, as often as it has it."""
    return (gram for gram in _grams(text) if gram in phrases)
