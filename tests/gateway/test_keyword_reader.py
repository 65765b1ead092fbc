"""Files that are read by a process of their own."""

import io
from pathlib import Path

import pytest

from gateway import keyword_reader
from gateway.keyword_reader import MOST_EXPRESSIONS, PART, Asked, Failed, Line, Parts, read
from keywords import importers
from keywords.entry import Action


def lines_of(parts: Parts) -> list[Line]:
    found: list[Line] = []
    while part := parts.next():
        found += part
    return found


def taken(tmp_path: Path, data: bytes, name: str = "a.txt", **given: str) -> Parts:
    file = tmp_path / "file"
    file.write_bytes(data)
    with file.open("rb") as opened:
        return read(opened, Asked(name, "A1d", **given))


def test_what_comes_back_is_what_was_read(tmp_path: Path) -> None:
    """All of it, in parts, as often as it is asked for."""
    words = [f"毒药{number}号" for number in range(2 * PART + 1)]
    data = "\n".join(["# 表", *words, "&", words[0]]).encode()
    with taken(tmp_path, data) as parts:
        for _ in range(2):
            found = lines_of(parts)
            expected = importers.read(data, name="a.txt", risk="A1d")
            assert (expected.entries, expected.places) == (
                [line.entry for line in found],
                [line.place for line in found],
            )
            assert [importers.key_of(entry) for entry in expected.entries] == [line.key for line in found]
            parts.again()
        assert {**expected.counts, "rejected": 1} == parts.summary.counts
        assert [len(words) + 2] == [row.line for row in parts.summary.rejected]


def test_actions_count_where_somebody_says_why(tmp_path: Path) -> None:
    """Else they are wishes; a measurement likewise."""
    data = b"term,action,benign_hits,benign_texts\nabc,block,0,9\n"
    with taken(tmp_path, data, "a.csv") as parts:
        [line] = lines_of(parts)
    assert (Action.OBSERVE, None, None) == (line.entry.action, line.entry.benign_hits, line.entry.benign_texts)
    assert Action.BLOCK is line.place.asked.action
    with taken(tmp_path, data, "a.csv", keep_actions="ours") as parts:
        [line] = lines_of(parts)
    assert (Action.BLOCK, 9, "forced: ours") == (line.entry.action, line.entry.benign_texts, line.entry.note)


@pytest.mark.parametrize(
    ("name", "data", "blamed", "fault"),
    [("a.png", b"abc", "name", "has the ending"), ("a.csv", b"colour\n", "body", "column")],
)
def test_what_is_no_list_is_told(tmp_path: Path, name: str, data: bytes, blamed: str, fault: str) -> None:
    """With what is to blame."""
    with taken(tmp_path, data, name) as parts:
        assert blamed == parts.summary.blamed and fault in parts.summary.fault
        assert [] == parts.next()


def test_expressions_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a process of its own; more than a version holds are not even tried."""
    tried: list[str] = []
    monkeypatch.setattr(keyword_reader, "try_out", tried.append)
    rows = "".join(f"a{number},regex\n" for number in range(MOST_EXPRESSIONS + 2))
    frames = list(keyword_reader.answer(f"term,match\n{rows}".encode(), Asked("a.csv", "A1d")))
    parts = Parts(io.BytesIO(b"".join(frames)))
    assert MOST_EXPRESSIONS == len(tried) == len(lines_of(parts))
    assert [f"term: a version has at most {MOST_EXPRESSIONS} regular expressions"] * 2 == [
        row.reason for row in parts.summary.rejected
    ]


def test_a_reader_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever it ended."""
    monkeypatch.setattr(keyword_reader, "__name__", "gateway.no_such_reader")
    with pytest.raises(Failed, match=r"No module named .*no_such_reader"):
        taken(tmp_path, b"abc")
    assert "more than 4 GB" in keyword_reader._why(1, b"Traceback\nMemoryError\n")
    assert "signal 24" in keyword_reader._why(-24, b"")
