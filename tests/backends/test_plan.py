"""What would be started, and what is wrong beside it."""

from typing import Any

import pytest

from backends.deployment import Deployment
from backends.engines.family import Command
from backends.errors import DeploymentInvalid
from backends.plan import concealed, document, planned, shell


def deployment(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/models/m/", **fields})


def test_each_replica_has_its_line() -> None:
    """Environment and argv of each, with its port and its GPUs; where no port is fixed 0 stands for it."""
    fixed = deployment(replicas=2, gpus=[0, 1, 2, 3], tensor_parallel_size=2, port="8003-8004")
    free = Deployment.model_validate({"model": "e", "engine": "llama_server", "path": "/a b.gguf"})
    first, second = planned([fixed, free])
    begin = "python3 -m vllm.entrypoints.openai.api_server --model /models/m/ --host 127.0.0.1"
    assert [
        ("m#0", 8003, f"CUDA_VISIBLE_DEVICES=0,1 {begin} --port 8003 --tensor-parallel-size 2"),
        ("m#1", 8004, f"CUDA_VISIBLE_DEVICES=2,3 {begin} --port 8004 --tensor-parallel-size 2"),
    ] == [(one.replica, one.port, one.shell) for one in first.replicas]
    [only] = second.replicas
    assert (None, "--port 0") == (only.port, " ".join(only.argv[5:7]))
    assert only.shell.startswith("llama-server -m '/a b.gguf' --host 127.0.0.1 --port 0")


def test_what_is_wrong_stands_beside_it() -> None:
    """A problem goes to the deployment of its key, hides no command line, and 1 is not 10."""
    problems = [DeploymentInvalid(f"deployments[{i}].path", "there is none") for i in (1, 10)]
    plan = planned(
        [deployment(model=f"m{i}") for i in range(11)], [*problems, DeploymentInvalid("deployments[2]", "x")]
    )
    assert {1: 1, 2: 1, 10: 1} == {one.index: len(one.problems) for one in plan if one.problems}
    assert all(len(one.replicas) == 1 for one in plan)


def test_what_cannot_be_read_keeps_its_place() -> None:
    """A deployment without a command line is there with its name and what is wrong."""
    first, second = planned(["odd", deployment()], [DeploymentInvalid("deployments[0].engine", "is missing")])
    assert ("odd", (), "is missing") == (first.model, first.replicas, first.problems[0].message)
    assert second.index == 1


@pytest.mark.parametrize(
    ("fields", "remarks"),
    [
        ({}, ["whether python3 can import vllm was not tried: it takes many seconds", "no GPUs"]),
        ({"vllm_binary": "vllm"}, ["no GPUs"]),
        ({"engine": "llama_server"}, []),
        ({"engine": "llama_server", "n_gpu_layers": 9}, ["no GPUs"]),
        (
            {"engine": "llama_server", "host": "0.0.0.0"},
            ["host 0.0.0.0: whoever reaches this port asks the engine around the guard"],
        ),
    ],
)
def test_remarks(fields: dict[str, Any], remarks: list[str]) -> None:
    """What was not looked at, and what one should know, is said; none of it is wrong."""
    [one] = planned([deployment(**fields)], remark="no GPUs")
    assert remarks == list(one.remarks)


def test_an_external_engine() -> None:
    """Nothing is started; its address is shown without what might be a secret."""
    plain = {"model": "x", "engine": "external", "url": "https://h:8000/v1", "api_key": "sk-1"}
    drafts = [Deployment.model_validate({**plain, "url": url}, context={"draft": True}) for url in (
        "https://h:8000/v1", "https://me:word@h/v1", "https://h/v1?key=word",
    )]  # fmt: skip
    plan = planned(drafts)
    assert ["https://h:8000/v1", "https://***@h/v1", "https://h/v1?***"] == [one.url for one in plan]
    assert all(one.replicas == () for one in plan)
    assert "sk-1" not in str(document(plan))


def test_secrets_are_not_shown() -> None:
    """Values are hidden by the name of their variable or flag; what only sounds alike is not."""
    made = Command(
        (
            "vllm",
            "--api-key",
            "a",
            "b",
            "--port",
            "1",
            "--hf-token=c",
            "--tokenizer",
            "t",
            "--max-num-batched-tokens",
            "9",
        ),
        {"HF_TOKEN": "d", "AWS_SECRET_ACCESS_KEY": "e", "TOKENIZERS_PARALLELISM": "false", "API_KEY": ""},
    )
    shown = concealed(made)
    assert shown.argv == (
        *("vllm", "--api-key", "***", "***", "--port", "1", "--hf-token=***", "--tokenizer", "t"),
        *("--max-num-batched-tokens", "9"),
    )
    hidden = {"HF_TOKEN": "***", "AWS_SECRET_ACCESS_KEY": "***", "TOKENIZERS_PARALLELISM": "false", "API_KEY": ""}
    assert hidden == shown.environment
    with_key = deployment(environment={"HF_TOKEN": "hush"})
    [hiding], [showing] = (planned([with_key], secrets=secrets)[0].replicas for secrets in (False, True))
    assert ("hush" in hiding.shell, "HF_TOKEN=hush" in showing.shell) == (False, True)


def test_a_line_for_a_shell() -> None:
    """Whatever a shell would take apart is quoted."""
    assert shell(Command(("a b", '{"x": 1}'), {"E": "1 2"})) == """E='1 2' 'a b' '{"x": 1}'"""


def test_the_plan_as_json() -> None:
    """Keys and messages, and everything else by its name."""
    [entry] = document(planned([deployment(aliases=["n"])], [DeploymentInvalid("deployments[0].port", "is taken")]))
    assert (entry["deployment"], entry["names"]) == ("deployments[0]", ["m", "n", "/models/m/"])
    assert entry["problems"] == [{"key": "deployments[0].port", "message": "is taken"}]
    assert set(entry["replicas"][0]) == {"replica", "port", "environment", "argv", "shell"}
