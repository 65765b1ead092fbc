"""The files for Kubernetes: right in themselves, with each other, and with the gateway's own settings."""

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backends.discovery import LOOK_SECONDS, MISSES
from backends.ports import free_port
from gateway.serve import control_stop_seconds, worker_stop_seconds
from gateway.settings import Settings, load

FOLDER = Path(__file__).parents[2] / "deploy" / "k8s"
FILES = sorted(FOLDER.glob("*.yaml"))
WORKLOADS = ("StatefulSet", "Deployment")
NAMES_KEPT_SECONDS = 5
"""By CoreDNS, in its usual settings (`cache` of the `kubernetes` plugin: ttl 5)."""


def objects(*kinds: str) -> list[dict[str, Any]]:
    """Return all objects, or those of *kinds*."""
    found = [one for file in FILES for one in yaml.safe_load_all(file.read_text()) if one["kind"] != "Kustomization"]
    return [one for one in found if not kinds or one["kind"] in kinds]


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in objects(kind) if one["metadata"]["name"] == name]
    return found


def pod(workload: dict[str, Any]) -> Any:
    return workload["spec"]["template"]


def container(workload: dict[str, Any]) -> Any:
    (found,) = pod(workload)["spec"]["containers"]
    return found


def engines() -> list[dict[str, Any]]:
    return objects("Deployment")


def fits(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as the pod has them: the ConfigMap's file, and the environment over it."""
    spec = container(named("StatefulSet", "gateway"))
    secrets = named("Secret", "gateway")["stringData"]
    for variable in spec["env"]:
        value = variable.get("value")
        if value is None:
            value = secrets[variable["valueFrom"]["secretKeyRef"]["key"]]
        monkeypatch.setenv(variable["name"], value)
    (file,) = named("ConfigMap", "gateway-settings")["data"].items()
    mount = next(one for one in spec["volumeMounts"] if one["name"] == "settings")
    assert f"{mount['mountPath']}/{file[0]}" == next(
        one["value"] for one in spec["env"] if one["name"] == "GATEWAY_CONFIG"
    )
    (tmp_path / file[0]).write_text(file[1])
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / file[0]))
    return load()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_keeps_to_the_schemas(file: Path) -> None:
    """By Kubernetes' own, strictly: no field that it does not know."""
    for one in yaml.safe_load_all(file.read_text()):
        if one["kind"] != "Kustomization":
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_it() -> None:
    """All but the Secret, which is the operator's; the image is the one that is set there."""
    built = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=True).stdout
    found = {(one["kind"], one["metadata"]["name"]) for one in yaml.safe_load_all(built)}
    assert found == {(one["kind"], one["metadata"]["name"]) for one in objects() if one["kind"] != "Secret"}
    assert "image: registry.example.com/safety-gateway:0.1.0" in built


def test_all_is_in_one_namespace() -> None:
    """And nothing is there twice."""
    spaces = {one["metadata"].get("namespace") for one in objects() if one["kind"] != "Namespace"}
    assert {named("Namespace", "safety-gateway")["metadata"]["name"]} == spaces
    names = [(one["kind"], one["metadata"]["name"]) for one in objects()]
    assert len(names) == len(set(names))


def test_selectors_find_their_pods() -> None:
    """Of each workload, Service, budget and policy, exactly the pods that are meant."""
    labels = {one["metadata"]["name"]: pod(one)["metadata"]["labels"] for one in objects(*WORKLOADS)}
    for one in objects(*WORKLOADS, "PodDisruptionBudget"):
        selector = one["spec"]["selector"]["matchLabels"]
        assert [one["metadata"]["name"]] == [name for name, its in labels.items() if fits(selector, its)]
    for one in objects("Service"):
        selector = one["spec"]["selector"]
        assert [one["metadata"]["name"].removesuffix("-pods")] == [
            name for name, its in labels.items() if fits(selector, its)
        ]
    scaler = named("HorizontalPodAutoscaler", "gateway")["spec"]
    assert named(scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"])
    assert (
        named("StatefulSet", "gateway")["spec"]["serviceName"] == named("Service", "gateway-pods")["metadata"]["name"]
    )
    assert "replicas" not in named("StatefulSet", "gateway")["spec"] and scaler["minReplicas"] >= 2


def test_ports_agree(settings: Settings) -> None:
    """Of settings, containers, Services, probes and policies."""
    for workload in objects(*WORKLOADS):
        spec = container(workload)
        (port,) = spec["ports"]
        probes = [spec[name]["httpGet"]["port"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert {port["name"]} == set(probes)
    assert settings.port == container(named("StatefulSet", "gateway"))["ports"][0]["containerPort"]
    for service in objects("Service"):
        assert [("http", 8000)] == [(one["targetPort"], one["port"]) for one in service["spec"]["ports"]]
    for policy in objects("NetworkPolicy"):
        ports = [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
        assert set(ports) <= {8000}


def test_every_engine_is_a_deployment_that_is_found_by_its_name(settings: Settings) -> None:
    """A headless Service, whose ready pods are the replicas; it serves under the name that the settings say."""
    assert settings.deployments is not None
    found = {}
    for deployment in settings.deployments:
        assert (deployment.engine.value, deployment.discover) == ("external", "dns")
        host, port = str(deployment.url).removeprefix("http://").split(":")
        service = named("Service", host)["spec"]
        assert (service["clusterIP"], service["ports"][0]["port"]) == ("None", int(port))
        assert not service.get("publishNotReadyAddresses")
        found[host] = deployment.model
    assert set(found) == {one["metadata"]["name"] for one in engines()}
    for engine in engines():
        assert re.search(
            rf"(^|=){found[engine['metadata']['name']]}$", "\n".join(container(engine)["args"]), re.MULTILINE
        )


def test_only_the_gateway_reaches_an_engine() -> None:
    """An engine's port that others reach is a way around the guard; and what an engine is asked for stays there."""
    gateway = pod(named("StatefulSet", "gateway"))["metadata"]["labels"]
    policy = named("NetworkPolicy", "engines")["spec"]
    assert named("NetworkPolicy", "nobody")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for engine in engines():
        labels = pod(engine)["metadata"]["labels"]
        assert fits(policy["podSelector"]["matchLabels"], labels)
        others = [one for one in objects("NetworkPolicy") if one["metadata"]["name"] not in {"engines", "nobody"}]
        assert not any(fits(one["spec"]["podSelector"]["matchLabels"], labels) for one in others)
        assert engine["spec"]["template"]["spec"].get("hostNetwork") is None
    assert not fits(policy["podSelector"]["matchLabels"], gateway)
    (rule,) = policy["ingress"]
    ((who,),) = ([one["podSelector"]["matchLabels"]] for one in rule["from"])
    assert set(rule["from"][0]) == {"podSelector"} and fits(who, gateway)
    assert not any(fits(who, pod(engine)["metadata"]["labels"]) for engine in engines())
    assert policy["egress"] == []
    assert {one["spec"].get("type", "ClusterIP") for one in objects("Service")} == {"ClusterIP"}


def test_the_admin_port_is_nobodys(settings: Settings) -> None:
    """It listens on the pod's loopback, which `kubectl port-forward` alone reaches."""
    assert settings.admin_host == "127.0.0.1"
    for service in objects("Service"):
        assert settings.admin_port not in {port["port"] for port in service["spec"]["ports"]}


def test_secrets_stand_in_the_secret(settings: Settings) -> None:
    """Each that is asked for is in the example; none stands in the ConfigMap."""
    assert settings.admin_key is not None and settings.client_key is not None
    assert settings.audit.signing_key is not None, "a key for each gateway would leave nobody able to verify them all"
    assert settings.redis_url is not None and str(settings.database_url).startswith("postgresql://")
    text = named("ConfigMap", "gateway-settings")["data"]["gateway.yaml"]
    assert not re.search(r"(api_key|secret|password|_url)\s*:", text)


def test_nothing_is_lost_with_a_pod(settings: Settings) -> None:
    """The log of each gateway lies on a volume of its own, which stays; what is recorded survives the node's end."""
    workload = named("StatefulSet", "gateway")["spec"]
    (claim,) = workload["volumeClaimTemplates"]
    mounts = {one["name"]: one["mountPath"] for one in container(named("StatefulSet", "gateway"))["volumeMounts"]}
    mount = Path(mounts[claim["metadata"]["name"]])
    assert mount in settings.data_dir.parents, "the volume's own root belongs to root, and the gateway wants its folder"
    assert workload["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert settings.audit.durability == "power"


def test_a_pod_has_the_time_to_end(settings: Settings) -> None:
    """Of a gateway: its answers, then the rest. Of an engine: its answers, once no gateway asks it any more."""
    spec = named("StatefulSet", "gateway")["spec"]["template"]["spec"]
    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = pause + worker_stop_seconds(settings) + control_stop_seconds(settings)
    assert needed <= spec["terminationGracePeriodSeconds"]
    for engine in engines():
        script = container(engine)["lifecycle"]["preStop"]["exec"]["command"][2]
        (pause,), (waits,) = re.findall(r"PAUSE:-(\d+)", script), re.findall(r"-lt (\d+)", script)
        assert int(pause) > NAMES_KEPT_SECONDS + LOOK_SECONDS * MISSES
        assert int(waits) >= settings.timeouts.drain_seconds
        assert int(pause) + int(waits) < engine["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_pods_may_do_little(settings: Settings) -> None:
    """No root, no writing outside of volumes, no token of the cluster, no names of Services in the environment."""
    for workload in objects(*WORKLOADS):
        spec = pod(workload)["spec"]
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        rights = container(workload)["securityContext"]
        assert (rights["allowPrivilegeEscalation"], rights["capabilities"]) == (False, {"drop": ["ALL"]})
        assert {"cpu", "memory"} <= container(workload)["resources"]["requests"].keys()
    gateway = pod(named("StatefulSet", "gateway"))["spec"]
    user = int(re.findall(r"useradd .*--uid (\d+)", (FOLDER.parents[1] / "Dockerfile").read_text())[0])
    assert (True, user) == (gateway["securityContext"]["runAsNonRoot"], gateway["securityContext"]["runAsUser"])
    assert container(named("StatefulSet", "gateway"))["securityContext"]["readOnlyRootFilesystem"]
    assert settings.worker_count <= int(container(named("StatefulSet", "gateway"))["resources"]["requests"]["cpu"])


def test_the_image_speaks_to_postgresql() -> None:
    """With the version that the tests use."""
    root = FOLDER.parents[1]
    locks = [(root / "requirements" / name).read_text() for name in ("postgres.lock", "dev.lock")]
    pins = [re.findall(r"^asyncpg==\S+", text, re.MULTILINE) for text in locks]
    assert pins[0] and pins[0] == pins[1]
    assert "requirements/postgres.lock" in (root / "Dockerfile").read_text()


@pytest.fixture
def busy() -> Iterator[tuple[int, list[str]]]:
    """A port at which the next of these texts is answered as metrics, the last one again and again."""
    texts: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((texts.pop(0) if len(texts) > 1 else texts[0]).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port, texts
    server.shutdown()
    thread.join()
    server.server_close()


METRICS = {
    "qwen3-14b": 'vllm:num_requests_running{{engine="0",model_name="m"}} {}.0\n'
    '# HELP vllm:num_requests_waiting x\nvllm:num_requests_waiting{{engine="0",model_name="m"}} {}.0\nother 7\n',
    "qwen3-4b-gguf": "llamacpp:requests_processing {}\nllamacpp:requests_deferred {}\nllamacpp:n_tokens_max 9\n",
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", METRICS)
def test_an_engine_is_stopped_when_its_answers_have_ended(name: str, busy: tuple[int, list[str]]) -> None:
    """It is waited for while any run or wait; an engine that is dead is not waited for."""
    port, texts = busy
    script = container(named("Deployment", name))["lifecycle"]["preStop"]["exec"]["command"][2]
    assert ":8000/" in script

    def stop(at: int) -> None:
        argv = ["sh", "-c", script.replace(":8000/", f":{at}/").replace("sleep 1", "sleep 0.01")]
        subprocess.run(argv, env={"PATH": "/usr/bin:/bin", "PAUSE": "0"}, timeout=20, check=False)

    texts += [METRICS[name].format(*counts) for counts in ((3, 1), (10, 0), (0, 2), (0, 0))]
    stop(port)
    assert [METRICS[name].format(0, 0)] == texts
    stop(free_port("127.0.0.1"))
