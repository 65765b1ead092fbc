"""What follows from hits: a list as such refuses nobody."""

from typing import Any

import pytest

from keywords.entry import Action, Entry
from keywords.library import Hit
from policies.keyword_policy import MOST_EVIDENCE, evidence, ranked, verdict
from policies.verdict import CLEAN
from policies.verdict import Action as Then


def hit(action: Action, number: int = 1, **fields: Any) -> Hit:
    return Hit(
        Entry(id=number, term="词语", risk=f"A1{'abcdefgh'[number % 8]}", action=action, **fields), number, number + 2
    )


@pytest.mark.parametrize(
    ("actions", "judged", "then"),
    [
        ([Action.OBSERVE], True, Then.PASS),
        ([Action.MASK], True, Then.PASS),
        ([Action.JUDGE], True, Then.JUDGE),
        ([Action.JUDGE], False, Then.PASS),
        ([Action.OBSERVE, Action.JUDGE, Action.BLOCK], False, Then.REFUSE),
        ([Action.OBSERVE, Action.JUDGE], True, Then.JUDGE),
    ],
)
def test_the_strictest_action_decides(actions: list[Action], judged: bool, then: Then) -> None:
    """block refuses; judge asks the judge, where there is one; mask and observe count."""
    hits = [hit(action, number) for number, action in enumerate(actions)]
    found = verdict(hits, judged=judged)
    assert then is found.action
    assert len(hits) == len(found.evidence)


def test_nothing_found_is_clean() -> None:
    """No hit, no evidence."""
    assert CLEAN == verdict([], judged=True)


def test_the_risk_is_that_of_the_gravest() -> None:
    """Of two that block, the graver one is named, and stands first in the evidence."""
    found = verdict([hit(Action.BLOCK, 1, severity=1), hit(Action.BLOCK, 2, severity=3)], judged=False)
    assert "A1c" == found.risk
    assert "2" == found.evidence[0].what


def test_evidence_is_bounded_and_keeps_what_decides() -> None:
    """However many words are observed, the one that blocks is kept."""
    hits = [*(hit(Action.OBSERVE, number) for number in range(100)), hit(Action.BLOCK, 200)]
    kept = evidence(ranked(hits))
    assert MOST_EVIDENCE == len(kept)
    assert "200" == kept[0].what
