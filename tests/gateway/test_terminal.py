"""What the shell shows and writes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import terminal


def test_words_do_nothing_to_the_terminal() -> None:
    """Whatever people write."""
    assert terminal.plain("你好\x1b[31m\n") == "你好\ufffd[31m\ufffd"


def test_times_have_their_zone() -> None:
    """That of Shanghai; also times that no calendar has."""
    assert terminal.moment(0) == "1970-01-01 08:00:00 +08:00"
    assert terminal.moment(-(10**12)) == "1970-01-01 08:00:00 +08:00"
    assert terminal.moment(1e15).startswith("9999-12-3")


def test_what_takes_long_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Every five seconds; nothing where it is done before."""
    moments = iter([0, 1, 2, 6, 7, 12])
    progress = terminal.Progress(5, lambda: next(moments))
    for _ in range(5):
        progress.step()
    assert capsys.readouterr().err == "2 of 5 texts …\n4 of 5 texts …\n"


async def test_a_file_is_written_in_parts(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Or goes to the standard output."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    assert await terminal.write(parts(), tmp_path / "x") == 3
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert await terminal.write(parts(), None) == 3
    assert capsysbinary.readouterr().out == b"abc"
