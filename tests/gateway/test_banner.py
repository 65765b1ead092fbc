"""What a person sees at the start: what is loading, what failed, how to go on."""

import io
from pathlib import Path

import pytest

from backends.errors import StartFailed
from gateway import embedded
from gateway.banner import Progress, failure, how_to_use, reachable_host
from gateway.logs import CLEAR_LINE, FORMAT, line_format
from gateway.settings import Settings

KEY = "sk-gw-0123456789abcdef"


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_the_banner_names_an_address_that_others_reach() -> None:
    """Dify is on another machine; curl is on this one."""
    text = how_to_use(Settings(), {"m": "chat", "e": "embeddings"}, KEY)
    assert "curl http://127.0.0.1:8000/v1/chat/completions" in text
    assert f"API endpoint URL  http://{reachable_host('0.0.0.0')}:8000/v1" in text
    assert text.index("LLM") < text.index("Text Embedding")


def test_without_a_model_that_is_ready_none_is_asked() -> None:
    """Where every model has failed the banner says where to look, and prints no line that cannot work."""
    text = how_to_use(Settings(data_dir=Path("/data")), {}, KEY)
    assert "No model is ready. http://127.0.0.1:8000/readyz" in text
    assert "/data/engines/" in text
    assert "curl" not in text
    assert "`deployments` is empty" in how_to_use(Settings(deployments=()), {}, KEY)


def test_an_embeddings_model_is_asked_for_embeddings() -> None:
    """The line that is printed works, also where no model chats."""
    text = how_to_use(Settings(), {"e5": "embeddings"}, KEY)
    assert "/v1/embeddings -H" in text
    assert '{"model": "e5", "input": "Hello!"}' in text


def test_a_failure_shows_the_engines_last_lines() -> None:
    """Why a model did not start is in the engine's own words; the rest is where it says."""
    lines = tuple(f"line {i}" for i in range(20))
    text = failure(StartFailed("m#0: the engine ended with 1", lines), Path("/data/engines/m_0/engine.log"))
    assert text.splitlines()[0] == "m#0: the engine ended with 1"
    assert text.splitlines()[-2:] == ["  | line 19", "  its whole log: /data/engines/m_0/engine.log"]
    assert failure(StartFailed("m#0: nobody answers"), None) == "m#0: nobody answers"


def test_a_log_line_is_not_glued_to_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a log line, of whatever process, first clears the line that shows what is loading."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    progress = Progress()
    progress.show("loading m#0", 3.2)
    assert terminal.getvalue() == f"{CLEAR_LINE}loading m#0 … 3 s"
    progress.end()
    assert terminal.getvalue().endswith(CLEAR_LINE)
    assert line_format(terminal) == CLEAR_LINE + FORMAT
    assert line_format(io.StringIO()) == FORMAT


def test_in_a_file_progress_is_a_line_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be rewritten, the seconds make no new line."""
    progress = Progress()
    for what, seconds in (("loading a, b", 0), ("loading a, b", 1), ("loading b", 2)):
        progress.show(what, seconds)
    progress.end()
    assert capsys.readouterr().out == "loading a, b …\nloading b …\n"


def test_the_embedded_model_leaves_cores_to_others() -> None:
    """llama.cpp is told how many threads it may have: by itself it takes all, and spins."""
    assert [1, 1, 1, 2, 8] == [embedded.threads(cores) for cores in (1, 2, 3, 4, 16)]
    chat = embedded.deployments()[0]
    assert chat.extra_args[0] == "-t"
    assert int(chat.extra_args[1]) >= 1
