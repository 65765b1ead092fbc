"""Possessive groups, whatever the Python."""

import ast
import re
from pathlib import Path

import pytest

from keywords import possessive
from keywords.possessive import compiled, greedy

ROOT = Path(__file__).parents[2]
GROUP = re.compile(r"\)(?:[*+?]|\{[^}]*\})\+")


@pytest.mark.parametrize("version", [(3, 11, 2), (3, 11, 5)])
@pytest.mark.parametrize("repeat", ["++", "*+", "{1,}+", "{,9}+"])
def test_a_repeat_that_fails_halfway_takes_nothing(
    repeat: str, version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this Python is an older one, by a greedy group."""
    monkeypatch.setattr(possessive, "RIGHT_FROM", (9,) if version < possessive.RIGHT_FROM else possessive.RIGHT_FROM)
    found = compiled(f"(?:ab?c){repeat}").match("aca")
    assert found is not None
    assert (0, 2) == found.span()


def test_only_groups_become_greedy() -> None:
    assert r"(?:a[b]{2,}+c*+)*(d){2,}" == greedy(r"(?:a[b]{2,}+c*+)*+(d){2,}+")
    assert rb"(?:a)+" == greedy(rb"(?:a)++")


@pytest.mark.parametrize("package", ["keywords", "policies", "gateway", "backends"])
def test_no_possessive_group_is_compiled_otherwise(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        text = file.read_text()
        calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
        plain = [ast.get_source_segment(text, call) or "" for call in calls if ast.unparse(call.func) == "re.compile"]
        assert [] == [call for call in plain if GROUP.search(call)], file
