"""`gateway chat` against a whole gateway with real models, through pipes and a terminal."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import CLIENT_KEY, SMOL, TINY, Stack
from tests.tiny_gguf import WORDS

TEXT = "".join(WORDS)
MEASURED = re.compile(r"\[\d+ tokens, \d+\.\d tokens/s, the first after \d+\.\d\d s(, cut)?\]")


def chat(stack: Stack, said: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Say *said* through pipes."""
    argv = [sys.executable, "-m", "gateway", "chat", *words]
    variables = {**stack.environment, **environment}
    return subprocess.run(argv, env=variables, input=said, capture_output=True, text=True, timeout=60, check=False)


def test_each_line_is_a_turn(stack: Stack) -> None:
    """Address and key come from the settings; answers alone are on stdout, how fast they came on stderr."""
    done = chat(stack, "你好\n\n/system be brief\nagain\n/reset\nonce more\n", TINY)
    assert (0, f"{TEXT}\n" * 3) == (done.returncode, done.stdout), done.stderr
    assert len(MEASURED.findall(done.stderr)) == 3
    assert "set\n" in done.stderr
    assert "forgotten\n" in done.stderr


def test_elsewhere(stack: Stack) -> None:
    """From another machine the URL and the key are given, with or without /v1."""
    bare = {name: value for name, value in stack.environment.items() if not name.startswith("GATEWAY_")}
    argv = [sys.executable, "-m", "gateway", "chat", TINY, "--url", stack.base_url, "--max-tokens", "2"]
    done = subprocess.run(
        [*argv, "--key", CLIENT_KEY], env=bare, input="a\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "".join(WORDS[:2]) + "\n") == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        (["nobody"], {}, "404: The model `nobody` does not exist."),
        ([TINY, "--key", "wrong"], {}, "401: "),
        ([TINY, "--url", "http://127.0.0.1:9"], {}, "no gateway answers at http://127.0.0.1:9/v1/"),
        ([TINY, "--max-tokens", "-5"], {}, "400: "),
    ],
)
def test_errors_are_said_in_words(stack: Stack, words: list[str], environment: dict[str, str], says: str) -> None:
    """One line, no traceback, and status 1."""
    done = chat(stack, "hello\n", *words, **environment)
    assert (1, "") == (done.returncode, done.stdout)
    assert f"gateway: {says}" in done.stderr
    assert "Traceback" not in done.stderr


class Terminal:
    """A terminal in which `gateway chat` runs."""

    def __init__(self, stack: Stack, *words: str) -> None:
        self.mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "chat", *words],
            env={**stack.environment, "TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # so that Ctrl-C there is its signal
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads here
        )
        os.close(theirs)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.mine, text.encode())

    def until(self, pattern: str, seconds: float = 40.0) -> "re.Match[str]":
        """Read until *pattern* is shown, and forget what came up to its end."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            assert left > 0, self.shown
            if select.select([self.mine], [], [], left)[0]:
                self.shown += os.read(self.mine, 65536).decode("utf-8", "replace")
        self.shown = self.shown[found.end() :]
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.mine)


@pytest.fixture
def terminal(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    words: Any = request.param
    running = Terminal(stack, *words)
    yield running
    running.close()


@pytest.mark.parametrize("terminal", [[SMOL, "--temperature", "0"]], indirect=True)
def test_ctrl_c_cuts_the_answer_and_ctrl_d_ends(terminal: Terminal) -> None:
    """What was shown stays, the next question is answered, and the end is an ordinary one."""
    terminal.until("Ctrl-D ends\r\n")
    terminal.until("> ")
    terminal.type("Count from 1 to 500, one number a line.\n")
    terminal.until(r"line\.\r\n[^\r\n]*\w")  # the first words of the answer
    terminal.type("\x03")
    terminal.until(r"tokens/s, the first after \d+\.\d\d s, cut\]")
    terminal.until("> ")
    terminal.type("\x03")
    terminal.until("Ctrl-D ends")
    terminal.type("/nonsense\n")
    terminal.until("there is no /nonsense; /reset")
    terminal.type("/reset\n")
    terminal.until("forgotten")
    terminal.until("> ")
    terminal.type("Say hello.\n")
    terminal.until(r"tokens/s, the first after \d+\.\d\d s\]")
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.process.wait(20) == 0


@pytest.mark.parametrize("terminal", [["nobody"]], indirect=True)
def test_a_person_may_try_again(terminal: Terminal) -> None:
    """At a terminal an error ends the turn, not the conversation."""
    terminal.until("> ")
    terminal.type("hello\n")
    terminal.until("gateway: 404: The model `nobody` does not exist")
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.process.wait(20) == 0
