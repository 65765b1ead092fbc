"""The strike rule, pure: what an utterance, a lift or an appeal makes of a person's standing.

使用者连续三次或一天内累计五次输入违法不良信息 … 暂停提供服务: three violations in a row, or five on one day,
suspend. The state server runs the same rule as a script (`gateway/people/strike.lua`), which is tested against this
one, and a standing is rebuilt from the audit log by it.
"""

from collections.abc import Sequence

import msgspec

UNTIL_LIFTED = -1
"""In place of the moment at which a suspension ends."""
DAY_MS = 86_400_000
IN_A_ROW, IN_A_DAY, BY_HAND = 1, 2, 3
"""What a suspension is for."""


class Rule(msgspec.Struct, frozen=True):
    """The numbers of the rule; each is a setting (`strikes.…`)."""

    consecutive: int = 3
    """Violations in a row that suspend."""
    daily: int = 5
    """Violations on one day that suspend."""
    suspensions_ms: tuple[int, ...] = (DAY_MS, 7 * DAY_MS, UNTIL_LIFTED)
    """How long the first, second … suspension lasts; the last one stands for all that follow."""
    decay_ms: int = 30 * DAY_MS
    """Without a violation for so long, the next suspension is a first one again."""
    same_ms: int = 10_000
    """The same words within so long are one utterance; each repeat begins the time anew …"""
    same_most_ms: int = 60_000
    """… but not beyond this, from the first time."""
    utc_offset_ms: int = 8 * 3_600_000
    """When a day begins: Asia/Shanghai, which has no summer time."""


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a person. Times are Unix milliseconds."""

    row: int = 0
    """Violations in a row."""
    today: int = 0
    """Violations on the day numbered `day`."""
    day: int = 0
    until: int = 0
    """End of the suspension; 0: there was none, `UNTIL_LIFTED`: no end is set."""
    level: int = 0
    """Number of suspensions, as far as they have not decayed."""
    last: int = 0
    """The last violation."""
    why: int = 0
    """What the last suspension was for: `IN_A_ROW`, `IN_A_DAY` or `BY_HAND`."""
    at: int = 0
    """The last change; a person's time never goes backwards."""

    def suspended(self, now: int) -> bool:
        """Return whether the person may not be answered at *now*."""
        return self.until == UNTIL_LIFTED or now < self.until


GOOD = State()


class Seen(msgspec.Struct, frozen=True):
    """An utterance that was counted: when first, when last, and whether as a violation."""

    first: int
    last: int
    violation: bool

    def repeats(self, now: int, rule: Rule) -> bool:
        """Return whether the same words at *now* are still this utterance."""
        return now - self.last < rule.same_ms and now - self.first < rule.same_most_ms


NOTHING = ""
REPEATED = "repeated"
WHILE_SUSPENDED = "while_suspended"
STRUCK = "struck"
RESET = "reset"
SUSPENDED_ROW = "suspended_consecutive"
SUSPENDED_DAY = "suspended_daily"
SUSPENDING = frozenset({SUSPENDED_ROW, SUSPENDED_DAY})


class Record:
    """One person's standing over time."""

    def __init__(self, rule: Rule, state: State = GOOD) -> None:
        self.rule = rule
        self.state = state
        self.seen: dict[str, Seen] = {}

    def count(self, utterance: str, now: int, *, violation: bool) -> str:
        """Count an utterance at *now* (Unix ms); return what that did: one of the words above.

        A clean one with no row to reset leaves no trace, so that nobody has to be told of it. The same words that were
        clean, then a violation (the library has changed), are one.
        """
        state = self.state
        now = max(now, state.at)
        if state.suspended(now):
            return WHILE_SUSPENDED
        if not violation and state.row == 0:
            return NOTHING
        known = self.seen.get(utterance)
        repeats = known is not None and known.repeats(now, self.rule)
        first = known.first if known is not None and repeats else now
        self.seen[utterance] = Seen(first, now, violation or (repeats and known is not None and known.violation))
        if repeats and known is not None and (known.violation or not violation):
            return REPEATED
        self.state, event = _struck(state, now, self.rule) if violation else (_reset(state, now), RESET)
        return event

    def lift(self, now: int) -> None:
        """End a suspension: row and day begin again, the level stays."""
        self.state = _lifted(self.state, now)

    def uphold(self, now: int) -> None:
        """Take back a suspension that was a mistake: a lift, and the level goes back, too."""
        lifted = _lifted(self.state, now)
        self.state = msgspec.structs.replace(lifted, level=max(0, lifted.level - 1))

    def suspend(self, now: int, until: int) -> None:
        """Suspend by hand, *until* then (`UNTIL_LIFTED`: without an end)."""
        self.state = msgspec.structs.replace(self.state, until=until, why=BY_HAND, at=max(now, self.state.at))


def day_of(now: int, rule: Rule) -> int:
    """Return the number of the day on which *now* (Unix ms) lies."""
    return (now + rule.utc_offset_ms) // DAY_MS


def _struck(state: State, now: int, rule: Rule) -> tuple[State, str]:
    day = day_of(now, rule)
    row, today = state.row + 1, (state.today if state.day == day else 0) + 1
    level = 0 if now - state.last > rule.decay_ms else state.level
    if row < rule.consecutive and today < rule.daily:
        return State(row, today, day, 0, level, now, 0, now), STRUCK
    until = _end(rule.suspensions_ms, level, now)
    event, why = (SUSPENDED_ROW, IN_A_ROW) if row >= rule.consecutive else (SUSPENDED_DAY, IN_A_DAY)
    return State(0, today, day, until, level + 1, now, why, now), event


def _end(durations: Sequence[int], level: int, now: int) -> int:
    duration = durations[min(level, len(durations) - 1)]
    return UNTIL_LIFTED if duration == UNTIL_LIFTED else now + duration


def _reset(state: State, now: int) -> State:
    return msgspec.structs.replace(state, row=0, at=now)


def _lifted(state: State, now: int) -> State:
    return msgspec.structs.replace(state, row=0, today=0, until=0, why=0, at=max(now, state.at))
