"""Whether a regular expression may be used: told from its text, then tried in a process that may not take long.

Vectorscan unrolls repeats, and a character class of all of Unicode is hundreds of states of UTF-8: it works for seconds
on some short expressions before it says that they are too large, and a compilation cannot be stopped. Most of these
show by their weight; those that do not end with the process that tries them.
"""

import re
import subprocess
import sys
import threading

HEAVIEST = 400
"""Of one expression, in literal characters about."""
MOST_EXPRESSIONS = 1_000
"""Of a library: some seconds in each worker."""
CPU_SECONDS = 1
"""Of a processor, for one expression, the start of the process included (a tenth)."""
WALL_SECONDS = 20
"""Where the machine gives no turn."""
LITERAL = 1
CLASS = 2
ANY = 5
"""A dot."""
OTHERS = 12
"""A class of all characters but some."""
SIMPLE = 4
"""Digits, blanks."""
WIDE = 50
"""Letters, or whatever else Unicode has thousands of, all over it."""
STRETCH = 2
"""Times that a repeat costs whose number is not fixed."""
DEEPEST = 30
"""Groups within each other."""
_REPEAT = re.compile(r"[*+?]|\{(\d+)(,?)(\d*)\}")
_GROUP = re.compile(r"\?(?:[ims-]*:|P?<\w+>|[ims-]+\))")
_ESCAPE = re.compile(r"\\(?:x\{[0-9A-Fa-f]*\}|x[0-9A-Fa-f]{0,2}|[pP](?:\{[^}]*\}|.)|.)", re.DOTALL)
_POSIX = re.compile(r"\[:\^?\w+:\]")
_COSTS = dict.fromkeys("wWpPXCNR", WIDE) | dict.fromkeys("dDsShHvV", SIMPLE) | dict.fromkeys("SD", 2 * SIMPLE)


LARGE = "it is too large: fewer and shorter repeats, [0-9] for \\d, and no \\w, \\W or \\p in them"
SLOW = f"it takes more than {CPU_SECONDS} s to compile: fewer and shorter repeats, and smaller classes"
VECTORSCAN_LARGE = "Pattern is too large."
"""How Vectorscan says it of what looked light enough."""
_TRIAL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
from keywords.matcher import BadPattern, expressions
try:
    expressions([sys.stdin.buffer.read().decode()])
except BadPattern as error:
    sys.exit(str(error))
"""
_one_at_a_time = threading.Lock()


class Unusable(Exception):
    """The expression is wrong, too large, takes too long, or has a construction whose size cannot be told."""


def try_out(pattern: str) -> None:
    """Raise `Unusable` unless *pattern* is compiled within `CPU_SECONDS`. Blocks that long: call it in a thread.

    One expression is tried at a time, however many are asked for.
    """
    weight(pattern)
    try:
        data = pattern.encode()
    except UnicodeEncodeError:
        raise Unusable("it has half a character") from None
    with _one_at_a_time:
        command = [sys.executable, "-P", "-c", _TRIAL, str(CPU_SECONDS)]
        try:
            done = subprocess.run(  # noqa: S603 - our own program; the expression is its input
                command, input=data, capture_output=True, timeout=WALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unusable(SLOW) from None
    if done.returncode < 0:
        raise Unusable(SLOW)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "it cannot be compiled"
        raise Unusable(LARGE if reason == VECTORSCAN_LARGE else reason)


def weight(pattern: str) -> int:
    """Return how large *pattern* becomes, in literal characters about. Raises `Unusable` beyond `HEAVIEST`.

    What is no expression at all may pass: its compiler says what is wrong with it.
    """
    return _Scale(pattern).weigh()


class _Scale:
    """Reads an expression from left to right; a stack of what stands before each open group."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.outer: list[int] = []
        self.sum = 0
        """Of the group that is open."""

    def weigh(self) -> int:
        """Return the weight of the whole."""
        while self.at < len(self.pattern):
            self._add(self._atom())
        return sum(self.outer, self.sum)

    def _add(self, atom: int) -> None:
        """Add an atom with all repeats behind it."""
        while found := _REPEAT.match(self.pattern, self.at):
            self.at = found.end()
            atom *= _times(found)
            self._assert_light(atom)
        self.sum += atom
        self._assert_light(self.sum)

    def _assert_light(self, found: int) -> None:
        if found > HEAVIEST:
            raise Unusable(LARGE)

    def _atom(self) -> int:
        """Read one atom and return its weight; a group that begins weighs nothing yet."""
        sign = self.pattern[self.at]
        if sign == "\\":
            return self._escape()
        if sign == "[":
            return self._class()
        self.at += 1
        if sign == "(":
            self._open()
            return 0
        if sign == ")" and self.outer:
            inner, self.sum = self.sum, self.outer.pop()
            return inner
        return ANY if sign == "." else LITERAL

    def _open(self) -> None:
        special = self.pattern.startswith(("?", "*"), self.at)
        found = _GROUP.match(self.pattern, self.at)
        if special and found is None:
            raise Unusable("groups that begin with `(?` or `(*` are names, `(?:` and the flags i, m and s only")
        self.at = found.end() if found is not None else self.at
        if found is not None and found[0].endswith(")"):  # flags, no group
            return
        if len(self.outer) >= DEEPEST:
            raise Unusable(f"it has more than {DEEPEST} groups within each other")
        self.outer.append(self.sum)
        self.sum = 0

    def _escape(self) -> int:
        found = _ESCAPE.match(self.pattern, self.at)
        if found is None:  # the last character
            self.at += 1
            return LITERAL
        self.at = found.end()
        if found[0] in {"\\Q", "\\E"}:
            raise Unusable("\\Q and \\E are not for use: put \\ before each sign")
        return _COSTS.get(found[0][1], LITERAL)

    def _class(self) -> int:
        """Read ``[…]``; it weighs as much as the heaviest of what is in it."""
        self.at += 1
        cost = CLASS
        if self.pattern.startswith("^", self.at):
            self.at, cost = self.at + 1, OTHERS
        first = self.at
        while self.at < len(self.pattern):
            if self.pattern[self.at] == "]" and self.at > first:
                self.at += 1
                return cost
            if self.pattern[self.at] == "\\":
                cost = max(cost, self._escape())
            elif found := _POSIX.match(self.pattern, self.at):
                cost, self.at = WIDE, found.end()
            else:
                self.at += 1
        return cost


def _times(repeat: re.Match[str]) -> int:
    least, comma, most = repeat.groups()
    if least is None:
        return 1 if repeat[0] == "?" else STRETCH
    if not comma:
        return max(1, int(least))
    return STRETCH * max(1, int(least), int(most or 0))
