"""Recording and alerting rules: right by promtool,
about metrics that exist, and explained in the guide.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.monitoring.prometheus_names import MONITORING, RULES, declared, names_in, rules, series

HERE = Path(__file__).parent
GUIDE = HERE.parents[1] / "docs" / "operations.md"
CASES = yaml.safe_load((HERE / "alerts_test.yml").read_text())["tests"]
ALERTS = [rule for rule in rules() if "alert" in rule]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is missing; install it: sudo apt-get install -y prometheus",
)


def promtool(*arguments: str | Path) -> str:
    """What promtool says, which must be a success."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=HERE, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    """`promtool check config` reads prometheus.yml and every rule file that it names."""
    checked = promtool("check", "config", MONITORING / "prometheus.yml")
    assert all(file.name in checked for file in RULES)


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    """The cases of alerts_test.yml, on synthetic series."""
    promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_a_wrong_threshold_is_found(tmp_path: Path) -> None:
    """The cases can fail: with the latency limit moved to 25 ms they do."""
    for file in RULES:
        (tmp_path / file.name).write_text(file.read_text().replace("> 0.015", "> 0.025"))
    cases = (HERE / "alerts_test.yml").read_text().replace("../../monitoring/rules/", "")
    (tmp_path / "alerts_test.yml").write_text(cases)
    command = ["promtool", "test", "rules", "alerts_test.yml"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "EchoRankScoreLatencyHigh" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_firing_case_a_silent_case_and_a_runbook(alert: dict[str, object]) -> None:
    """Nobody is paged by an alert that was never seen to fire,
    to stay silent, or to say what to do.
    """
    expected = [
        bool(case["exp_alerts"])
        for test in CASES
        for case in test["alert_rule_test"]
        if case["alertname"] == alert["alert"]
    ]
    assert set(expected) == {True, False}
    assert alert["labels"]["severity"] in {"page", "ticket"}  # type: ignore[index]
    path, _, anchor = alert["annotations"]["runbook"].partition("#")  # type: ignore[index]
    assert path == "docs/operations.md"
    headings = re.findall(r"^#+ (.+)$", GUIDE.read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "rule", list(rules()), ids=lambda rule: rule.get("record") or rule["alert"]
)
def test_each_rule_uses_series_and_labels_that_exist(rule: dict[str, str]) -> None:
    """A renamed metric or label breaks the rule here, not silently in production."""
    known = series()
    recorded = {other["record"] for other in rules() if "record" in other}
    used = names_in(rule["expr"])
    assert used <= known.keys() | recorded
    labels = {label for name in used & known.keys() for label in known[name]} | {"job", "actor"}
    groups = re.findall(r"by \(([^)]*)\)", rule["expr"])
    matchers = re.findall(r"(\w+)(?:=~|!=|=)\"", rule["expr"])
    assert {label.strip() for group in groups for label in group.split(",")} | set(
        matchers
    ) <= labels | {"instance"}


def test_limits_are_edges_of_the_histograms() -> None:
    """A `le` of a rule is a bucket that the histogram has: else the ratio would be NaN for ever."""
    from monitoring.metrics import FRESHNESS_EDGES, SCORE_EDGES  # noqa: PLC0415

    edges = {
        "echorank_score_seconds": SCORE_EDGES,
        "echorank_event_to_score_seconds": FRESHNESS_EDGES,
    }
    for rule in rules():
        for metric, edge in re.findall(r"(\w+)_bucket\{le=\"([^\"]+)\"", rule["expr"]):
            assert edge in {str(value) for value in edges[metric]}


def test_the_guide_explains_every_metric() -> None:
    """Each declared metric stands in the guide's table, under the name that Prometheus shows."""
    guide = GUIDE.read_text()
    total = {"counter": "_total"}
    shown = {
        f"{name.removeprefix('echorank_')}{total.get(kind, '')}"
        for name, (kind, _) in declared().items()
    }
    assert not {name for name in shown if f"`{name}`" not in guide}


def test_the_cases_fix_the_order_of_all_groups() -> None:
    """A group that is not listed would be evaluated first, on values of the step before."""
    listed = yaml.safe_load((HERE / "alerts_test.yml").read_text())["group_eval_order"]
    groups = [
        group["name"] for file in RULES for group in yaml.safe_load(file.read_text())["groups"]
    ]
    assert sorted(listed) == sorted(groups)
