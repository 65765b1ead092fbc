from collections import Counter

import pytest

from keywords import starter
from keywords.entry import Action, faults
from keywords.importers import identity
from keywords.risks import RISKS


def test_every_risk_has_its_words() -> None:
    """All 31 files are there; each risk of A.1 and A.2 has 20 words or more."""
    counts = Counter(entry.risk for entry in starter.entries())
    assert set(RISKS) == set(counts)
    assert [] == [risk for risk, count in counts.items() if risk[:2] in {"A1", "A2"} and count < 20]


def test_no_word_has_a_fault() -> None:
    """What comes with the package could be entered by hand."""
    assert [] == [(entry.risk, entry.term, *fault) for entry in starter.entries() for fault in faults(entry)]


def test_no_word_stands_there_twice() -> None:
    """Not under two risks either."""
    counts = Counter(map(identity, starter.entries()))
    assert [] == [key for key, count in counts.items() if count > 1]


def test_ids_follow_the_files() -> None:
    """From 1, in the order of the risks, and the same each time."""
    entries = starter.entries()
    assert list(range(1, len(entries) + 1)) == [entry.id for entry in entries]
    assert list(RISKS) == list(dict.fromkeys(entry.risk for entry in entries))
    assert {("starter", "Apache-2.0")} == {(entry.source, entry.licence) for entry in entries}


def test_the_format_of_a_file() -> None:
    """A word asks the next stage unless its line says otherwise; longer harmless words may follow."""
    text = "# 注释\n\n甲乙\n丙丁\tblock\n 戊己 \tobserve\t戊己庚, 辛戊己\n"
    found = [(entry.term, entry.action, entry.exceptions) for entry in starter.parse(text, "A1f")]
    assert [
        ("甲乙", Action.JUDGE, ()),
        ("丙丁", Action.BLOCK, ()),
        ("戊己", Action.OBSERVE, ("戊己庚", "辛戊己")),
    ] == found


def test_an_unknown_action_is_an_error() -> None:
    """A slip of the pen does not weaken a word in silence."""
    with pytest.raises(ValueError, match="blok"):
        list(starter.parse("甲乙\tblok\n", "A1f"))
