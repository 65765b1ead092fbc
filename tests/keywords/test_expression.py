"""Which regular expressions are taken, and that hostile ones take nobody's time."""

import threading
import time

import pytest

from keywords.expression import CPU_SECONDS, HEAVIEST, Unusable, try_out, weight
from keywords.matcher import expressions
from tests.timing import cpu_seconds

HOSTILE = [
    "(a{1,500}){1,500}",
    ".{0,1000}.{0,1000}.{0,1000}a",
    r"\w{1,100}",
    r"\w{1,30}加",
    r"(\w{1,20}\d){5}",
    r"\p{L}{100}",
    "[[:alpha:]]{60}",
    r"(\w|\d|\s){30}",
    r"(\W{0,10}x){10}",
    r"\w*\w*\w*\w*\w*\w*\w*\w*\w*\w*x",
    "((((((((((a{2}){2}){2}){2}){2}){2}){2}){2}){2}){2}",
    r"(\D)\x{4e00}{200}",
    r"(\w{0,2}(加){60})",
    r"\W(\h)",
    "(?x)a {1,500} {1,500}",
    "a(?#c){500}{500}",
    r"\Q(\E{500}",
    "(" * 100 + "a" + ")" * 100,
    "a{99999999999999999999}",
    "[",
    "\\",
    "a\ud800",
    "[^",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_hostile_expressions_are_refused_or_ready_at_once(pattern: str) -> None:
    """None of them takes this process's processor, nor much longer than the bound of the process that tries it."""
    reasons: list[str] = []

    def work() -> None:
        try:
            try_out(pattern)
        except Unusable as error:
            reasons.append(str(error))
        else:
            reasons.append("taken")

    assert cpu_seconds(work, 0.5) < 0.5
    assert all(reason and "Traceback" not in reason for reason in reasons)
    assert cpu_seconds(work, 5 * CPU_SECONDS, time.monotonic) < 5 * CPU_SECONDS  # the machine may be shared


@pytest.mark.parametrize(
    "pattern",
    [
        r"加.{0,3}微信\d+",
        "abc+",
        r"(?:微信|qq)[:：]?\s*[a-z0-9_-]{5,20}",
        r"1[3-9]\d{9}",
        r"(?i)https?://[^ ]{1,10}\.onion",
        r"(?P<who>他|她)说",
        r"[[:digit:]]\w[\]a^-]",
        "a|b|",
        r"\x{4e00}\.",
    ],
)
def test_what_people_write_is_taken(pattern: str) -> None:
    """Phones, accounts, links: the usual expressions are far from the bounds."""
    assert 0 < weight(pattern) <= HEAVIEST


@pytest.mark.parametrize("pattern", [r"1[3-9][0-9]{9}", r"\d{8}", "[a-z0-9_]{5,20}", r"加.{0,3}微信\d+"])
def test_what_the_documentation_names_is_compiled(pattern: str) -> None:
    """Digits are short where they are written as such."""
    try_out(pattern)


@pytest.mark.parametrize("pattern", [r"\d{11}", r"\w+x", r"\w{5,20}"])
def test_what_is_too_large_is_told_with_what_to_write(pattern: str) -> None:
    """Whether its weight says so or Vectorscan."""
    with pytest.raises(Unusable, match=r"too large: .* \[0-9\] for"):
        try_out(pattern)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("abc", 3), ("a{3}", 3), ("(ab){2,3}c", 13), ("[a-z]+", 4), ("a|bc", 4), (r"\{2\}", 3), ("a{2}{2}", 4)],
)
def test_weights(pattern: str, expected: int) -> None:
    """Repeats are what they become; one whose number is not fixed counts twice."""
    assert expected == weight(pattern)


def test_a_slow_one_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks light and is not is stopped by the operating system."""
    monkeypatch.setattr("keywords.expression.HEAVIEST", 10**9)
    with pytest.raises(Unusable, match="compile"):
        try_out(r"x\w{1,32}加")


def test_one_is_tried_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people enter expressions at once, one processor at most works on them."""
    running: list[int] = []
    most: list[int] = []

    class Done:
        returncode = 0

    def run(*_arguments: object, **_named: object) -> Done:
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return Done()

    monkeypatch.setattr("keywords.expression.subprocess.run", run)
    threads = [threading.Thread(target=try_out, args=("abc",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_many_are_compiled_in_groups() -> None:
    """More than one database holds; each expression keeps its number."""
    patterns = [f"词{chr(0x4E00 + number)}\\d" for number in range(120)]
    matcher = expressions(patterns)
    assert {(0, 0, 3), (119, 4, 7)} == set(matcher.find(f"词{chr(0x4E00)}1 词{chr(0x4E00 + 119)}2"))
