"""Secrets in what is shown."""

import pytest

from gateway.hidden import HIDDEN, argv, fields, is_secret


@pytest.mark.parametrize("name", ["api_key", "--api-key", "HF_TOKEN", "signing_secret", "password", "Authorization"])
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["max_tokens", "--key-value", "tokenizer", "--ssl-keyfile", "model"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret(name)


def test_a_command_line_keeps_its_secrets() -> None:
    """In both spellings of a flag; everything else stays."""
    words = ["--api-key", "sk-1", "--port", "8001", "--hf-token=x", "--api-key", "--verbose"]
    assert argv(words) == ["--api-key", HIDDEN, "--port", "8001", f"--hf-token={HIDDEN}", "--api-key", "--verbose"]


def test_fields_keep_theirs_at_any_depth() -> None:
    said = {"api_key": "x", "environment": {"HF_TOKEN": "x", "A": "b"}, "extra_args": ["--api-key", "x"], "n": [1, "a"]}
    assert fields(said) == {
        "api_key": HIDDEN,
        "environment": {"HF_TOKEN": HIDDEN, "A": "b"},
        "extra_args": ["--api-key", HIDDEN],
        "n": [1, "a"],
    }
