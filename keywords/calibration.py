"""Which entries may block and which may only ask the next stage: measured, not believed.

The public word lists hit two harmless texts in three when they are used as they are. Taking out what was seen to hit
harmless texts is not enough, for most words that will hit the next harmless text have hit none so far: of 7 100 texts
with a fifth held out, words without any hit still blocked 6.6 % of that fifth. How much is still to come can be
estimated, though (Good and Turing, 1953): the share of texts that will be hit by a word never met before is about the
share of the words met exactly once. The estimate grows as words get shorter, so the shortest length whose estimate is
below what is allowed is the shortest that may block.

What shall reach the next stage is found from the other side: a word that is many times as frequent in inducing texts
as in harmless ones tells something, however harmless it looks alone. Words that no list has are mined the same way.

Everything here is arithmetic on texts and on a callable that finds entries in them.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from keywords.entry import Action, Entry, Match
from keywords.folding import SQUEEZED, is_ideograph
from keywords.mining import mine, occurring

Find = Callable[[str], Iterable[int]]
"""Returns the ids of the entries that a text has."""

BLOCK_AT = 0.0005
"""Share of harmless texts that the words blocking on their own may hit: half of the 0.1 % that is aimed at."""
JUDGE_AT = 0.01
"""Share of harmless texts that words without any hit may send to the next stage."""
RARE = 0.001
"""Share of harmless texts that a word may hit and still be judged where no inducing texts were measured."""
COMMON = 0.01
"""Share of harmless texts beyond which a word tells nothing and is only observed."""
LIFT = 8.0
"""Times a word must be as frequent in inducing texts as in harmless ones to be judged for that."""
FEWEST = 2
"""Inducing texts that must have a word before its lift means anything."""
WELL_MEASURED = 10_000
"""Harmless texts without a hit that a short word needs to block: two characters turn up within longer words."""
FEWEST_TEXTS = 1_000
"""Harmless texts that an imported word must be measured on before it acts: on fewer, 0.1 % of them would be none."""
SAMPLES = 3
"""Texts that are kept for each entry, to look at."""

WINDOW = 10
"""Folded characters: texts that share a run of them are variants of one and go into the same fold."""
SHARED = 20
"""Texts beyond which a shared run is a form, such as the choices of a test, and makes no variants."""


@dataclass(frozen=True, slots=True)
class Hits:
    """How many of *texts* texts each entry was found in, by id, and a few of those texts."""

    texts: int
    by_entry: Mapping[int, int]
    samples: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def of(self, entry: Entry) -> int:
        """Return the number of texts that have *entry*."""
        return self.by_entry.get(entry.id, 0)

    def rate(self, entry: Entry) -> float:
        """Return the share of texts that have *entry*."""
        return self.of(entry) / self.texts if self.texts else 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """The action that *entry* should have, and why."""

    entry: Entry
    action: Action
    reason: str

    @property
    def applied(self) -> Entry:
        """Return the entry as proposed."""
        return replace(self.entry, action=self.action)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a calibrated library does with texts it has not seen; means over the folds, shares of 1."""

    harmless_blocked: float
    harmless_judged: float
    """Sent to the next stage and not blocked."""
    inducing_blocked: float
    inducing_reached: float
    """Blocked or sent to the next stage."""
    blocking: float
    judging: float
    """Entries."""
    mined: float
    """Phrases among those that judge."""


def measure(find: Find, texts: Iterable[str]) -> Hits:
    """Count for each entry the *texts* that it is found in; a text counts once however often it has the entry."""
    count = 0
    by_entry: Counter[int] = Counter()
    samples: defaultdict[int, list[str]] = defaultdict(list)
    for text in texts:
        count += 1
        for number in set(find(text)):
            by_entry[number] += 1
            if len(samples[number]) < SAMPLES:
                samples[number].append(text)
    return Hits(count, by_entry, {number: tuple(some) for number, some in samples.items()})


# Proposals


def propose(
    entries: Iterable[Entry],
    harmless: Hits,
    *,
    inducing: Hits | None = None,
    block_at: float = BLOCK_AT,
    judge_at: float = JUDGE_AT,
) -> list[Proposal]:
    """Return an action for each entry; what masks is not for calibration to decide and left out.

    *block_at*, *judge_at*: shares of harmless texts that the entries which block, or judge, for nothing but having no
    hit may be expected to hit. In this order:

    1. An entry that hits more than `COMMON` of the harmless texts is observed, whoever entered it.
    2. One that is `LIFT` times as frequent in the inducing texts as in the harmless ones is judged; it does not block,
       since a word of natural questions is the likeliest to turn up in a harmless one.
    3. One with hits is judged if somebody had it judge or block, or if it is `RARE` and nothing inducing was measured;
       else observed.
    4. One without hits blocks if somebody had it block, or if it is as long as the estimate asks for, and longer
       than two ideographs or three letters, or measured on `WELL_MEASURED` texts.
    5. Else it is judged if it is as long as the estimate for judging asks for, or somebody had it judge; else observed.
    """
    kept = [entry for entry in entries if entry.action is not Action.MASK]
    block_from = _shortest(kept, harmless, block_at)
    judge_from = _shortest(kept, harmless, judge_at)
    return [
        Proposal(entry, *_decide(entry, harmless, inducing, block_from=block_from, judge_from=judge_from))
        for entry in kept
    ]


def _decide(  # noqa: PLR0911 - one return for each row of the rule above
    entry: Entry, harmless: Hits, inducing: Hits | None, *, block_from: float, judge_from: float
) -> tuple[Action, str]:
    hits, texts = harmless.of(entry), harmless.texts
    seen = f"in {hits} of {texts} harmless texts"
    chosen = entry.action in {Action.BLOCK, Action.JUDGE}
    if harmless.rate(entry) > COMMON:
        return Action.OBSERVE, f"{seen}, more than {COMMON:.0%}: an everyday word"
    if inducing is not None and entry.action is not Action.BLOCK and _telling(entry, harmless, inducing):
        told = f"in {inducing.of(entry)} of {inducing.texts} inducing texts and {seen}"
        return Action.JUDGE, f"{told}: {LIFT:g} times as frequent there, or more"
    if hits:
        if chosen or (inducing is None and harmless.rate(entry) <= RARE):
            return Action.JUDGE, f"{seen}: a word that harmless texts have may not block"
        return Action.OBSERVE, f"{seen}, and nothing speaks for judging it"
    if entry.action is Action.BLOCK:
        return Action.BLOCK, f"{seen}, and somebody had it block"
    long_enough = size(entry) >= block_from
    if long_enough and (not short(entry) or texts >= WELL_MEASURED):
        return Action.BLOCK, f"{seen}, and {_length(entry)}: from {block_from:g} on words hardly hit any"
    if chosen or size(entry) >= judge_from:
        return Action.JUDGE, f"{seen}, but {_too_short(entry, block_from, texts, 'block')}"
    return Action.OBSERVE, f"{seen}, but {_too_short(entry, judge_from, texts, 'judge')}"


def _length(entry: Entry) -> str:
    return f"{size(entry):g} {'ideographs' if entry.squeezed else 'pairs of letters'} long"


def _too_short(entry: Entry, needed: float, texts: int, action: str) -> str:
    """Return why *entry*, which hit nothing, is still not sure enough for *action*."""
    if entry.match not in {Match.EXACT, Match.FOLDED}:
        return f"how rare a {entry.match.value} is cannot be told from its length"
    if needed == float("inf"):
        return f"{texts} texts are too few to tell from which length on a word may {action}"
    if size(entry) >= needed:
        return f"{_length(entry)}: so short a word blocks only once {WELL_MEASURED} texts had none"
    return f"only {_length(entry)}: below {needed:g} words hit harmless texts too often to {action}"


def _telling(entry: Entry, harmless: Hits, inducing: Hits) -> bool:
    """Return whether *entry* is much more frequent in inducing texts; the next harmless hit counts half already."""
    if inducing.of(entry) < FEWEST or not harmless.texts:
        return False
    return inducing.rate(entry) >= LIFT * (harmless.of(entry) + 0.5) / harmless.texts


def size(entry: Entry) -> float:
    """Return how much of a text *entry* fixes, in ideographs; two letters or digits weigh as much as one.

    Combinations, sounds and regular expressions have no length that says how rare they are: 0.
    """
    if entry.match not in {Match.EXACT, Match.FOLDED}:
        return 0.0
    return sum(1.0 if is_ideograph(character) else 0.5 for character in entry.folded(entry.term))


def short(entry: Entry) -> bool:
    """Return whether *entry* is two ideographs, three letters, or less."""
    return len(entry.folded(entry.term)) <= (2 if entry.squeezed else 3)


def _shortest(entries: Iterable[Entry], harmless: Hits, allowed: float) -> float:
    """Return the size from which on entries without hits are expected to hit at most *allowed* of harmless texts.

    After Good and Turing: as many as the entries of that size that were found exactly once, by the number of texts.
    One is added, so that a few texts prove nothing. Infinite where no size is long enough.
    """
    once = Counter(size(entry) for entry in entries if harmless.of(entry) == 1)
    most = allowed * harmless.texts - 1
    if most < 0:
        return float("inf")
    met = 0
    for length in sorted(once, reverse=True):
        met += once[length]
        if met > most:
            return length + 0.5
    return 0.5


def respecting(proposals: Iterable[Proposal], decided: Collection[int]) -> list[Proposal]:
    """Return *proposals* in which the entries whose ids are *decided* keep the action that they have."""
    return [
        replace(proposal, action=proposal.entry.action, reason="somebody decided it")
        if proposal.entry.id in decided
        else proposal
        for proposal in proposals
    ]


# Cross-validation


def cross_validate(  # noqa: PLR0913 - the data, and by name how it is divided and used
    entries: Sequence[Entry],
    find: Find,
    harmless: Sequence[str],
    inducing: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 1,
    decided: Collection[int] = (),
    learns: bool = True,
    mines: bool = False,
    block_at: float = BLOCK_AT,
    judge_at: float = JUDGE_AT,
) -> Figures:
    """Calibrate on all folds but one, look what the library does with that one, for each in turn.

    *find* knows all *entries*, whatever their action; those whose ids are *decided* keep it. *learns*: the inducing
    texts of the other folds are used; *mines*: phrases are mined from them, too. Variants of a text never stand on both
    sides.
    """
    good, bad = _Texts(harmless, find, folds, seed), _Texts(inducing, find, folds, seed)
    rounds = []
    for fold in range(folds):
        proposed = propose(
            entries,
            good.hits(fold),
            inducing=bad.hits(fold) if learns or mines else None,
            block_at=block_at,
            judge_at=judge_at,
        )
        proposals = respecting(proposed, decided)
        phrases = set(mine(bad.seen(fold), good.seen(fold))) if mines else set[str]()
        block, judge = (
            {proposal.entry.id for proposal in proposals if proposal.action is action}
            for action in (Action.BLOCK, Action.JUDGE)
        )
        shares = [texts.shares(fold, block, judge, phrases) for texts in (good, bad)]
        (good_blocked, good_judged), (bad_blocked, bad_judged) = shares
        counts = (len(block), len(judge) + len(phrases), len(phrases))
        rounds.append((good_blocked, good_judged, bad_blocked, bad_blocked + bad_judged, *counts))
    return Figures(*(sum(column) / folds for column in zip(*rounds, strict=True)))


class _Texts:
    """Texts in folds, with what was found in each."""

    def __init__(self, texts: Sequence[str], find: Find, folds: int, seed: int) -> None:
        self.texts = texts
        self.found = [frozenset(find(text)) for text in texts]
        self.folds = _folds(texts, folds, seed)

    def hits(self, but: int) -> Hits:
        """Return what was found outside of one fold."""
        chosen = [found for found, fold in zip(self.found, self.folds, strict=True) if fold != but]
        return Hits(len(chosen), Counter(number for found in chosen for number in found))

    def seen(self, but: int) -> list[str]:
        """Return the texts outside of one fold."""
        return [text for text, fold in zip(self.texts, self.folds, strict=True) if fold != but]

    def shares(self, fold: int, block: set[int], judge: set[int], phrases: set[str]) -> tuple[float, float]:
        """Return which shares of one fold are blocked, and judged but not blocked."""
        blocked = judged = count = 0
        for text, found, own in zip(self.texts, self.found, self.folds, strict=True):
            if own != fold:
                continue
            count += 1
            if not found.isdisjoint(block):
                blocked += 1
            elif not found.isdisjoint(judge) or any(occurring(SQUEEZED.text(text), phrases)):
                judged += 1
        return blocked / max(1, count), judged / max(1, count)


def _folds(texts: Sequence[str], folds: int, seed: int) -> list[int]:
    """Return a fold for each text: variants together, otherwise by chance that *seed* fixes, and of like sizes."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number, chief in enumerate(_variants(texts)):
        groups[chief].append(number)
    order = sorted(groups.values(), key=lambda group: (-len(group), _chance(texts[group[0]], seed)))
    sizes = [0] * folds
    out = [0] * len(texts)
    for group in order:  # the largest first, each into the emptiest fold
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group)
        for number in group:
            out[number] = fold
    return out


def _chance(text: str, seed: int) -> int:
    return zlib.crc32(f"{seed} {text}".encode("utf-8", "replace"))


def _variants(texts: Sequence[str]) -> list[int]:
    """Return for each text the number of one that stands for all its variants."""
    leader = list(range(len(texts)))

    def lead(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    runs: defaultdict[str, set[int]] = defaultdict(set)
    for number, text in enumerate(texts):
        folded = SQUEEZED.text(text)
        for start in range(max(1, len(folded) - WINDOW + 1)):
            runs[folded[start : start + WINDOW]].add(number)
    for sharing in runs.values():
        if len(sharing) <= SHARED:
            chief = lead(min(sharing))
            for number in sharing:
                leader[lead(number)] = chief
    return [lead(number) for number in range(len(texts))]
