"""`gateway chat` where it starts no conversation with a gateway; see also tests/e2e/test_chat.py."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main

MODEL = "/home/usr1/fine-model/Qwen3-32B-V3/Qwen3-32B-V3-F16.gguf"


def test_the_documented_conversation(tmp_path: Path) -> None:
    """With a file the documented command line takes this process's place, terminal and all."""
    program, model = tmp_path / "llama-cli", tmp_path / "m.gguf"
    program.write_text('#!/bin/sh\necho "$$" "$0" "$@"\ncat\n')
    program.chmod(0o755)
    model.touch()
    argv = [sys.executable, "-m", "gateway", "chat", "--local", str(model), "--n-gpu-layers", "2000"]
    with subprocess.Popen(
        [*argv, "--llama-cli", str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        out, _ = process.communicate("你好\n", timeout=30)
    first, second = out.splitlines()
    documented = f"./build/bin/llama-cli -m {MODEL} -cnv --n-gpu-layers 2000"
    expected = documented.replace("./build/bin/llama-cli", str(program)).replace(MODEL, str(model))
    assert (shlex.split(f"{process.pid} {expected}"), "你好") == (first.split(), second)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ([], 2, "name a model, or --local FILE.gguf"),
        (["m", "--local", "x.gguf"], 2, "name a model, or --local FILE.gguf"),
        (["--local", "/no/x.gguf"], 1, "--local: there is no file /no/x.gguf"),
        (["--local", __file__, "--llama-cli", "/no/llama-cli"], 1, "--llama-cli: there is no program /no/llama-cli"),
    ],
)
def test_what_cannot_be_begun(capsys: pytest.CaptureFixture[str], words: list[str], status: int, says: str) -> None:
    """The flag to blame is named."""
    assert (status, f"gateway: {says}\n") == (main(["chat", *words]), capsys.readouterr().err)


def test_bytes_that_are_no_text() -> None:
    """They are said as signs that stand for broken ones, in one line of words."""
    argv = [sys.executable, "-m", "gateway", "chat", "m", "--url", "http://127.0.0.1:9"]
    done = subprocess.run(argv, input=b"\xff\n", capture_output=True, check=False, timeout=30)
    assert (1, b"") == (done.returncode, done.stdout)
    assert done.stderr.strip().startswith(b"gateway: no gateway answers at http://127.0.0.1:9/v1/")


def test_ctrl_c_ends_a_pipe(tmp_path: Path) -> None:
    """Without a terminal an interrupt is the end, with the status that a shell knows."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
        "GATEWAY_DATA_DIR": str(tmp_path),
    }
    code = (
        "import builtins, sys\n"
        "def interrupted(_): raise KeyboardInterrupt\n"
        "builtins.input = interrupted\n"
        "from gateway.cli import main\n"
        "sys.exit(main(['chat', 'm']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL, check=False, timeout=30
    )
    assert done.returncode == 130
