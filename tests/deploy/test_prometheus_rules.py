"""The alerts, as Prometheus' own tool sees them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus-rules.yml"

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def turns(identified: str, *parts: str) -> dict[str, str]:
    return {
        "series": f'gateway_identified_turns_total{{key="dify", identified="{identified}"}}',
        "values": " ".join(parts),
    }


def events(event: str, values: str) -> dict[str, str]:
    return {"series": f'gateway_strike_events_total{{event="{event}"}}', "values": values}


def test_every_metric_of_an_alert_is_documented_and_every_alert_too() -> None:
    """An alert on a misspelt metric never fires."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    for rule in alerts():
        assert f"| {rule['alert']} |" in page
        for name in re.findall(r"gateway_\w+", rule["expr"]):
            assert f"`{name.removesuffix('_total')}`" in page, name


@needs_promtool
def test_the_rules_are_valid() -> None:
    """By Prometheus' own check."""
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


DAY = 24 * 60
STEADY = f"0+1x{DAY}"
CASES: list[tuple[str, str, list[dict[str, str]], bool]] = [
    ("GatewayAuditUnavailable", "10m", [{"series": "gateway_audit_unavailable", "values": "0x5 1x5"}], True),
    ("GatewayAuditUnavailable", "10m", [{"series": "gateway_audit_unavailable", "values": "0x10"}], False),
    # named all day, then nobody is
    (
        "GatewayIdentifiedShareFalls",
        "1d2h",
        [turns("yes", STEADY, f"{DAY}x120"), turns("no", f"0x{DAY}", "0+1x120")],
        True,
    ),
    # the same after a restart: nothing says `yes` any more
    ("GatewayIdentifiedShareFalls", "1d2h", [turns("yes", STEADY, "_x120"), turns("no", f"0x{DAY}", "0+1x120")], True),
    # as it was
    ("GatewayIdentifiedShareFalls", "1d2h", [turns("yes", "0+1x1600"), turns("no", "0+1x1600")], False),
    # too few turns to tell
    (
        "GatewayIdentifiedShareFalls",
        "1d2h",
        [turns("yes", f"0+0.5x{DAY}", f"{DAY // 2}x120"), turns("no", f"0x{DAY}", "0+0.5x120")],
        False,
    ),
    ("GatewaySuspensionsBurst", "20m", [events("suspended_daily", "0x5 0+1x15")], True),
    ("GatewaySuspensionsBurst", "20m", [events("suspended_daily", "0x10 0+0.5x10")], False),
    # many all day long
    ("GatewaySuspensionsBurst", "1d1h", [events("suspended_consecutive", "0+1x1500")], False),
    ("GatewaySuspensionsBurst", "20m", [events("struck", "0+5x20")], False),
    ("GatewayStrikesPending", "20m", [events("pending", "0+1x20")], True),
    ("GatewayStrikesPending", "20m", [events("pending", "0x2 1x18")], False),
    ("GatewayAuditHeadsFail", "6m", [{"series": "gateway_audit_heads_failed", "values": "1x10"}], True),
    ("GatewayAuditHeadsFail", "6m", [{"series": "gateway_audit_heads_failed", "values": "1 1 0x10"}], False),
    ("GatewayAuditIndexLags", "15m", [{"series": "gateway_audit_index_lag_seconds", "values": "400x15"}], True),
    ("GatewayAuditIndexLags", "15m", [{"series": "gateway_audit_index_lag_seconds", "values": "20x15"}], False),
    # time begins at 0 here: frozen in the first second; a value each five minutes
    ("GatewayKeywordsOld", "8d", [{"series": "gateway_keywords_live_timestamp_seconds", "values": "1x2304"}], True),
    ("GatewayKeywordsOld", "6d", [{"series": "gateway_keywords_live_timestamp_seconds", "values": "1x1728"}], False),
    ("GatewayKeywordsOld", "8d", [{"series": "gateway_keywords_live_timestamp_seconds", "values": "0x2304"}], False),
]


@needs_promtool
@pytest.mark.parametrize(("alert", "at", "series", "fires"), CASES)
def test_an_alert_fires_when_it_shall(
    tmp_path: Path, alert: str, at: str, series: list[dict[str, str]], fires: bool
) -> None:
    """Run on made-up numbers; `ALERTS` is how Prometheus shows those that fire."""
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    samples = [{"labels": "{}", "value": 1}] if fires else []
    step = "5m" if at.endswith("d") else "1m"  # an alert about days would be evaluated ten thousand times
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": step,
        "tests": [
            {
                "interval": step,
                "input_series": series,
                "promql_expr_test": [{"expr": expression, "eval_time": at, "exp_samples": samples}],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
