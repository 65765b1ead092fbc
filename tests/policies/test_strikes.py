"""The strike rule, against a reference that keeps the whole story and no state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.strikes import (
    DAY_MS,
    RESET,
    STRUCK,
    SUSPENDED_DAY,
    SUSPENDED_ROW,
    UNTIL_LIFTED,
    WHILE_SUSPENDED,
    Record,
    Rule,
)

NOON = 1_764_000_000_000 // DAY_MS * DAY_MS + 4 * 3_600_000  # 12:00 in Shanghai
MINUTE = 60_000


@pytest.mark.parametrize(
    ("said", "events"),
    [
        ("vvv", [STRUCK, STRUCK, SUSPENDED_ROW]),
        ("vvcvv", [STRUCK, STRUCK, RESET, STRUCK, STRUCK]),
        ("vvcvvcv", [STRUCK, STRUCK, RESET, STRUCK, STRUCK, RESET, SUSPENDED_DAY]),
        ("vvvvc", [STRUCK, STRUCK, SUSPENDED_ROW, WHILE_SUSPENDED, WHILE_SUSPENDED]),
        ("ccc", ["", "", ""]),
        ("vcv", [STRUCK, RESET, STRUCK]),
    ],
)
def test_three_in_a_row_or_five_a_day(said: str, events: list[str]) -> None:
    """Three violations in a row suspend, and so do five on one day; a clean utterance ends the row, not the day."""
    record = Record(Rule())
    found = [record.count(str(i), NOON + i * MINUTE, violation=one == "v") for i, one in enumerate(said)]
    assert found == events


def test_a_day_ends_at_midnight_in_shanghai() -> None:
    """What was before midnight does not count for the day after; a row goes on."""
    record = Record(Rule())
    midnight = NOON + 12 * 3_600_000
    for i, moment in enumerate((midnight - 2, midnight - 1)):
        record.count(str(i), moment, violation=True)
    assert record.state.today == 2
    assert record.count("next", midnight, violation=True) == SUSPENDED_ROW
    assert record.state.today == 1


def test_suspensions_grow_and_decay() -> None:
    """24 hours, seven days, until lifted; thirty days without a violation, and it begins anew."""
    record, now = Record(Rule()), NOON
    lasted = []
    for _ in range(4):
        for i in range(3):
            record.count(f"{now}{i}", now, violation=True)
            now += MINUTE
        lasted.append(record.state.until if record.state.until == UNTIL_LIFTED else record.state.until - now + MINUTE)
        record.lift(now)
        now += MINUTE
    assert lasted == [DAY_MS, 7 * DAY_MS, UNTIL_LIFTED, UNTIL_LIFTED]
    now += 31 * DAY_MS
    for i in range(3):
        record.count(f"late{i}", now + i, violation=True)
    assert record.state.level == 1


def test_an_upheld_appeal_gives_the_level_back() -> None:
    """A lift leaves the level, an upheld appeal takes it back, too."""
    record = Record(Rule())
    for i in range(3):
        record.count(str(i), NOON + i, violation=True)
    record.uphold(NOON + 10)
    assert (record.state.level, record.state.row, record.state.today, record.state.until) == (0, 0, 0, 0)


def test_the_same_words_are_one_utterance_for_a_while() -> None:
    """Each repeat within 10 s begins the time anew, for at most 60 s; later they count again."""
    record = Record(Rule(consecutive=100, daily=100))
    moments = [0, 9, 18, 27, 36, 45, 54, 59, 61, 80]
    counted = [record.count("w", NOON + second * 1000, violation=True) == STRUCK for second in moments]
    assert counted == [True, *[False] * 7, True, True]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["v", "v", "c", "lift"]),
        st.sampled_from("abcd"),
        st.sampled_from([0, 1, 5_000, 9_999, 10_000, 59_999, 3_600_000, 13 * 3_600_000, DAY_MS, -5_000]),
    ),
    max_size=40,
)


@given(STEPS)
def test_any_story_equals_the_reference(steps: list[tuple[str, str, int]]) -> None:
    """The rule in ten lines, over the list of all that counted."""
    record, now, clock = Record(Rule()), NOON, NOON
    strikes: list[tuple[int, bool]] = []  # moment, still in the row
    day, until, level, last, heard = [0], 0, 0, 0, dict[str, tuple[int, int, bool]]()
    for what, words, step in steps:
        now += step
        clock = max(clock, now) if what == "lift" else max(now, record.state.at)
        if what == "lift":
            record.lift(now)
            strikes, day, until = [], [0], 0
            continue
        event = record.count(words, now, violation=what == "v")
        if clock < until or until == UNTIL_LIFTED:
            assert event == WHILE_SUSPENDED
            continue
        row = sum(in_row for _, in_row in strikes)
        if what == "c" and not row:
            assert event == ""
            continue
        first, before, bad = heard.get(words, (0, 0, False))
        same = words in heard and clock - before < 10_000 and clock - first < 60_000
        heard[words] = (first if same else clock, clock, what == "v" or (same and bad))
        if same and (bad or what == "c"):
            assert event == "repeated"
            continue
        if what == "c":
            strikes = [(moment, False) for moment, _ in strikes]
            assert event == RESET
            continue
        level = 0 if clock - last > 30 * DAY_MS else level
        last = clock
        strikes.append((clock, True))
        row += 1
        number = (clock + 8 * 3_600_000) // DAY_MS
        day = [number, *(one for one in day[1:] if day[0] == number), clock]
        if row >= 3 or len(day) > 5:
            until = [clock + DAY_MS, clock + 7 * DAY_MS, UNTIL_LIFTED][min(level, 2)]
            level += 1
            strikes = [(moment, False) for moment, _ in strikes]
        assert (record.state.row, record.state.today) == (sum(r for _, r in strikes), len(day) - 1)
        assert (record.state.level, record.state.until) == (level, until if row >= 3 or len(day) > 5 else 0)
