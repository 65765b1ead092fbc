import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from keywords.calibration import (
    COMMON,
    Hits,
    cross_validate,
    measure,
    propose,
    size,
)
from keywords.calibration import _folds as folds_of
from keywords.entry import Action, Boundary, Direction, Entry, Match
from keywords.folding import SQUEEZED

LONG = "某个很长很长很长的词"


def entry(number: int, term: str, action: Action = Action.OBSERVE) -> Entry:
    return Entry(id=number, term=term, risk="A1h", action=action)


def finder(entries: list[Entry]) -> Callable[[str], list[int]]:
    """Return a plain search for ids."""
    literals = [(each.id, SQUEEZED.text(each.term)) for each in entries]

    def find(text: str) -> list[int]:
        folded = SQUEEZED.text(text)
        return [number for number, literal in literals if literal in folded]

    return find


def proposed(
    one: Entry, hits: int, texts: int = 20_000, inducing: Hits | None = None, once: tuple[str, ...] = ()
) -> Action:
    """Return the action for *one* with *hits*, among entries that were found *once*."""
    others = [entry(100 + number, term) for number, term in enumerate(once)]
    harmless = Hits(texts, {one.id: hits, **{other.id: 1 for other in others}})
    return propose([one, *others], harmless, inducing=inducing)[0].action


def test_a_text_counts_once() -> None:
    """However often it has an entry; three texts are kept to look at."""
    hits = measure(finder([entry(1, "冰毒"), entry(2, "大麻")]), ["冰毒冰毒", "冰毒大麻", "无", "冰毒", "冰毒"])
    assert (5, {1: 4, 2: 1}) == (hits.texts, dict(hits.by_entry))
    assert {1: ("冰毒冰毒", "冰毒大麻", "冰毒"), 2: ("冰毒大麻",)} == hits.samples


@pytest.mark.parametrize(
    ("action", "hits", "expected"),
    [
        (Action.OBSERVE, 0, Action.BLOCK),
        (Action.OBSERVE, 1, Action.JUDGE),
        (Action.OBSERVE, 20, Action.JUDGE),
        (Action.OBSERVE, 21, Action.OBSERVE),
        (Action.JUDGE, 21, Action.JUDGE),
        (Action.JUDGE, 201, Action.OBSERVE),
        (Action.BLOCK, 0, Action.BLOCK),
        (Action.BLOCK, 1, Action.JUDGE),
        (Action.BLOCK, 201, Action.OBSERVE),
    ],
)
def test_the_more_harmless_texts_the_less_it_may_do(action: Action, hits: int, expected: Action) -> None:
    """Of 20 000 texts: none blocks, one in a thousand judges, one in a hundred is only observed, whoever entered it."""
    assert expected == proposed(entry(1, LONG, action), hits)


def test_words_that_mask_are_not_touched() -> None:
    """What an answer shows instead is not measured on questions."""
    assert [] == propose([entry(1, LONG, Action.MASK)], Hits(20_000, {}))


@pytest.mark.parametrize(
    ("term", "texts", "expected"),
    [
        ("冰毒", 9_999, Action.JUDGE),
        ("冰毒", 10_000, Action.BLOCK),
        ("冰毒品", 9_999, Action.BLOCK),
        ("lsd", 9_999, Action.JUDGE),
        ("lsd", 10_000, Action.BLOCK),
        ("heroin", 9_999, Action.BLOCK),
    ],
)
def test_short_words_need_many_texts(term: str, texts: int, expected: Action) -> None:
    """Two ideographs or three letters block on 10 000 texts without a hit, not on fewer."""
    assert expected == proposed(entry(1, term), 0, texts)


def test_few_texts_prove_nothing() -> None:
    """A hundred texts without a hit promote no word, however long it is."""
    assert Action.OBSERVE == proposed(entry(1, LONG), 0, texts=99)
    assert Action.JUDGE == proposed(entry(1, LONG), 0, texts=1_000)


def test_lengths_that_still_turn_up_do_not_block() -> None:
    """Ten words of four found once in 20 000 texts: the next 2 000 texts may well have another."""
    once = tuple(f"甲乙丙{chr(0x4E10 + n)}" for n in range(10))
    assert Action.JUDGE == proposed(entry(1, "子丑寅卯"), 0, once=once)
    assert Action.BLOCK == proposed(entry(1, "子丑寅卯辰"), 0, once=once)
    assert Action.BLOCK == proposed(entry(1, "子丑寅卯"), 0, once=once[:9])


def test_letters_weigh_half() -> None:
    """Eight letters say as much as four ideographs; a combination has no length."""
    combination = Entry(id=1, term="很长的词 & 别的词", risk="A1h", match=Match.COMBO, direction=Direction.IN)
    letters = replace(entry(1, "abcd 1234"), boundary=Boundary.NONE)
    assert [4.0, 4.0, 0.0] == [size(one) for one in (entry(1, "子丑寅卯"), letters, combination)]
    assert Action.OBSERVE == proposed(combination, 0)


def test_a_word_of_inducing_texts_is_judged() -> None:
    """Eight times as frequent as in harmless texts, in two texts at least; it never blocks for that."""
    word = entry(1, "枪支")
    assert Action.JUDGE == proposed(word, 50, inducing=Hits(1_000, {1: 30}))
    assert Action.OBSERVE == proposed(word, 50, inducing=Hits(1_000, {1: 20}))
    assert Action.OBSERVE == proposed(word, 5, inducing=Hits(1_000, {1: 1}))
    assert Action.JUDGE == proposed(entry(1, LONG), 0, inducing=Hits(1_000, {1: 2}))
    assert Action.OBSERVE == proposed(word, 201, inducing=Hits(1_000, {1: 900}))


def test_a_proposal_says_why() -> None:
    """With the count that it rests on."""
    (proposal,) = propose([entry(1, LONG)], Hits(1_000, {1: 30}))
    assert "in 30 of 1000 harmless texts, more than 1%: an everyday word" == proposal.reason
    assert COMMON < 30 / 1_000
    assert entry(1, LONG) == proposal.applied


@pytest.mark.parametrize(
    ("found", "texts", "action", "why"),
    [
        (
            entry(1, LONG),
            10_000,
            Action.BLOCK,
            "10 ideographs long: from 0.5 on words hardly hit any",
        ),
        (entry(1, "毒药"), 9_000, Action.JUDGE, "so short a word blocks only once 10000 texts had none"),
        (entry(1, LONG), 900, Action.JUDGE, "900 texts are too few to tell from which length on a word may block"),
        (entry(1, LONG, Action.BLOCK), 900, Action.BLOCK, "and somebody had it block"),
        (
            Entry(id=1, term="毒&药", risk="A1h", match=Match.COMBO, direction=Direction.IN),
            90,
            Action.OBSERVE,
            "how rare a combo is cannot be told from its length",
        ),
    ],
)
def test_the_reason_says_what_decided(found: Entry, texts: int, action: Action, why: str) -> None:
    """So that somebody who has never seen the rule understands the proposal."""
    (proposal,) = propose([found], Hits(texts, {}))
    assert action == proposal.action
    assert proposal.reason.startswith(f"in 0 of {texts} harmless texts") and why in proposal.reason


# Cross-validation


def test_variants_of_a_text_are_in_one_fold() -> None:
    """Else a library is measured on what it was made from."""
    texts = [
        f"{wrapper}怎样才可以制造一把能用的枪{n}{tail}"
        for n in range(10)
        for wrapper, tail in [("", ""), ("请问", "?")]
    ]
    texts += [f"与此无关的话{chr(0x4E00 + 50 * n) * 12}" for n in range(40)]
    folds = folds_of(texts, 5, seed=1)
    assert 1 == len(set(folds[:20]))
    assert [20, 10, 10, 10, 10] == sorted((folds.count(n) for n in range(5)), reverse=True)
    assert folds == folds_of(texts, 5, seed=1) != folds_of(texts, 5, seed=2)


def language(chance: random.Random, count: int) -> list[str]:
    """Return sentences of a language of 3 000 words, few of them frequent."""
    words = [chr(0x4E00 + 3 * n) + chr(0x5E00 + 2 * n) for n in range(3_000)]
    weights = [1 / (n + 1) for n in range(len(words))]
    return ["".join(chance.choices(words, weights, k=12)) for _ in range(count)]


def test_a_calibrated_library_blocks_few_texts_that_it_has_not_seen() -> None:
    """A list full of the language's own words and pairs: no hit so far is no promise, the estimate keeps its word."""
    chance = random.Random(5)  # noqa: S311 - the same language each time
    harmless = language(chance, 3_000)
    listed = sorted(
        {text[start : start + length] for text in language(chance, 60) for start, length in [(0, 2), (4, 4)]}
    )
    entries = [entry(n, term) for n, term in enumerate(listed, 1)]
    entries += [entry(n, "禁" * 4 + chr(0x4E00 + n) * 4) for n in range(1_000, 1_300)]
    find = finder(entries)
    careless = cross_validate(entries, find, harmless, [], block_at=1.0)
    calibrated = cross_validate(entries, find, harmless, [], block_at=0.001)
    assert careless.harmless_blocked > 0.001 >= calibrated.harmless_blocked
    assert 300 <= calibrated.blocking < careless.blocking


def test_what_somebody_decided_stays_as_it_is() -> None:
    """In each fold, whatever the others say of it."""
    entries = [entry(1, LONG), entry(2, "无关的词", Action.BLOCK)]
    texts = [f"{chr(0x4E00 + 50 * n) * 12}无关的词" for n in range(300)]
    free, held = (cross_validate(entries, finder(entries), texts, [], decided=ids, block_at=1) for ids in ([], [1, 2]))
    assert (1, 0.0, 1, 1.0) == (free.blocking, free.harmless_blocked, held.blocking, held.harmless_blocked)


def test_what_inducing_texts_teach_reaches_those_of_an_unseen_fold() -> None:
    """Listed words that only they have, then phrases that no list has; of harmless texts few follow."""
    chance = random.Random(6)  # noqa: S311 - the same texts each time
    harmless = language(chance, 1_500)
    subjects = ["自制土炸弹", "购买枪支", "伪造身份证"]
    inducing = [chance.choice(subjects).join(language(chance, 2)) for _ in range(150)]
    entries = [entry(1, "枪支"), entry(2, "无关的词")]
    find = finder(entries)
    lists, learnt, with_mined = (
        cross_validate(entries, find, harmless, inducing, judge_at=0.0, **kind)  # type: ignore[arg-type]
        for kind in ({"learns": False}, {"learns": True}, {"mines": True})
    )
    assert 0.0 == lists.inducing_reached < 0.25 < learnt.inducing_reached < 0.45
    assert 1.0 == with_mined.inducing_reached
    assert 0.0 == learnt.harmless_judged < with_mined.harmless_judged < 0.1
    assert lists.mined == 0 < with_mined.mined <= with_mined.judging
