"""What may be entered, and what is said of the rest."""

from typing import Any

import pytest

from keywords.entry import Action, Boundary, Direction, Entry, Match, faults

IN = Direction.IN


def entry(**fields: Any) -> Entry:
    return Entry(**{"id": 1, "term": "违禁词", "risk": "A1a", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": Action.BLOCK},
        {"term": "色", "action": Action.OBSERVE},
        {"term": "枪支&购买", "match": Match.COMBO, "direction": IN},
        {"term": "wei jin ci", "match": Match.PINYIN, "direction": IN},
        {"term": r"加.{0,3}微信\d+", "match": Match.REGEX, "direction": IN},
        {"exceptions": ("反违禁词条例",)},
        {"action": Action.MASK, "mask": "[已屏蔽]"},
    ],
)
def test_what_may_be_entered(fields: dict[str, Any]) -> None:
    """Each kind of entry in its proper form has no faults."""
    assert [] == list(faults(entry(**fields)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"risk": "B1"}, "risk"),
        ({"mask": "x" * 201}, "mask"),
        ({"note": "x" * 4001}, "note"),
        ({"source": "x" * 201}, "source"),
        ({"tags": ("x" * 65,)}, "tags"),
        ({"tags": ("x",) * 51}, "tags"),
        ({"expires_at": 10**15}, "expires_at"),
        ({"reviewed_at": -1}, "reviewed_at"),
        ({"benign_hits": -5}, "benign_hits"),
        ({"benign_hits": 5, "benign_texts": 4}, "benign_texts"),
        ({"benign_texts": 4}, "benign_texts"),
        ({"severity": 4}, "severity"),
        ({"term": ""}, "term"),
        ({"term": " \u3000"}, "term"),
        ({"term": "***"}, "term"),
        ({"term": "x" * 201}, "term"),
        ({"term": "色", "action": Action.BLOCK}, "term"),
        ({"term": "色 *", "action": Action.MASK}, "term"),
        ({"term": "枪支", "match": Match.COMBO, "direction": IN}, "term"),
        ({"term": "a&b&c&d&e&f", "match": Match.COMBO, "direction": IN}, "term"),
        ({"term": "枪支& ", "match": Match.COMBO, "direction": IN}, "term"),
        ({"term": "枪支&购买", "match": Match.COMBO, "direction": IN, "within": 0}, "within"),
        ({"term": "枪支&购买", "match": Match.COMBO}, "direction"),
        ({"term": "wei jin ci", "match": Match.PINYIN}, "direction"),
        ({"term": "wei jin", "match": Match.PINYIN, "direction": IN}, "term"),
        ({"term": "hello world", "match": Match.PINYIN, "direction": IN}, "term"),
        ({"action": Action.MASK, "direction": IN}, "action"),
        ({"exceptions": ("违禁",)}, "exceptions"),
        ({"exceptions": ("违 禁 词",)}, "exceptions"),
        ({"term": "a.c", "match": Match.REGEX, "direction": IN, "exceptions": ("abcd",)}, "exceptions"),
    ],
)
def test_faults_name_their_field(fields: dict[str, Any], named: str) -> None:
    """Whoever enters something impossible reads which field it is."""
    assert named in {field for field, _ in faults(entry(**fields))}


def test_folds() -> None:
    """Ideographs are looked for squeezed, words as words, unless any place is asked for."""
    assert entry().squeezed
    assert entry(term="QQ群").squeezed
    assert not entry(term="kill you").squeezed
    assert entry(term="kill you", boundary=Boundary.NONE).squeezed


def test_an_entry_expires() -> None:
    """At its end it counts no more."""
    assert entry().alive(1e12)
    assert entry(expires_at=10).alive(9.9)
    assert not entry(expires_at=10).alive(10)
