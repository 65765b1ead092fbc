"""The settings of strikes."""

import pytest
from pydantic import ValidationError

from gateway.people.rules import Strikes
from policies.strikes import DAY_MS, UNTIL_LIFTED, Rule
from policies.verdict import Action, Evidence, Verdict


def test_the_defaults_are_the_rule() -> None:
    """Three in a row, five a day, 24 hours, seven days, until lifted."""
    assert Strikes().rule() == Rule()
    assert Strikes(suspension_hours=("until_lifted", 0.5)).rule().suspensions_ms == (UNTIL_LIFTED, DAY_MS // 48)


@pytest.mark.parametrize("fields", [{"consecutive": 0}, {"suspension_hours": ()}, {"same_utterance_seconds": 61}])
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    """A rule that could never hold, or always, is none."""
    with pytest.raises(ValidationError):
        Strikes.model_validate(fields)


def test_only_the_stages_that_are_set_count() -> None:
    """A refusal by a stage that is left out is no violation."""
    verdict = Verdict(Action.REFUSE, None, (Evidence("keywords.in", "7"),))
    assert Strikes().counts(verdict)
    assert not Strikes(stages=("judge",)).counts(verdict)
