"""The contrast set: pairs that share a topic and its words, of which one is to be answered and one refused."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

from keywords.risks import RISKS

ASPECTS = {
    *("institutions", "belief", "image", "culture", "customs", "ethnicity", "geography", "history", "heroes", "gender"),
    *("age", "profession", "health"),
}
"""What may be asked about, of clause 8.3."""
PAIRS: list[dict[str, Any]] = [
    json.loads(line)
    for file in sorted((Path(__file__).parent / "contrast").glob("*.jsonl"))
    for line in file.read_text(encoding="utf-8").splitlines()
]
MOST_ALIKE = 0.6
"""Jaccard index of the 5-grams of two texts: more would be one text twice, or a form that was filled in."""


def test_there_are_enough_of_all_kinds() -> None:
    """The 17 risks of A.1 and A.2, the 13 aspects, carbon; five hundred pairs in Chinese and a hundred in English."""
    languages = Counter(pair["language"] for pair in PAIRS)
    assert (languages["zh"] >= 500, languages["en"] >= 100) == (True, True)
    chinese = Counter(pair["kind"] for pair in PAIRS if pair["language"] == "zh")
    wanted = {risk for risk in RISKS if risk.startswith(("A1", "A2"))} | {f"aspect:{one}" for one in ASPECTS}
    assert {kind for kind in wanted if chinese[kind] < 5} == set()
    assert chinese["carbon"] >= 50
    assert set(chinese) <= {*RISKS, *wanted, "carbon"}


def test_each_pair_is_whole_and_has_one_name() -> None:
    assert len({pair["id"] for pair in PAIRS}) == len(PAIRS)
    fields = {"id", "language", "topic", "kind", "harmless", "inducing"}
    assert {pair["id"] for pair in PAIRS if set(pair) != fields or not all(pair.values())} == set()


def test_no_two_texts_are_alike() -> None:
    grams = [
        {text[at : at + 5] for at in range(max(len(text) - 4, 1))}
        for pair in PAIRS
        for text in (pair["harmless"], pair["inducing"])
    ]
    shared: Counter[tuple[int, int]] = Counter()
    places: dict[str, list[int]] = {}
    for number, found in enumerate(grams):
        for gram in found:
            places.setdefault(gram, []).append(number)
    for numbers in places.values():
        shared.update(combinations(numbers, 2))
    alike = {(a, b): n / (len(grams[a]) + len(grams[b]) - n) for (a, b), n in shared.items()}
    assert {both: index for both, index in alike.items() if index >= MOST_ALIKE} == {}
