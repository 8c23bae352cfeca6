"""The files for Prometheus and Grafana: what promtool says of them, and that they name what there is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cds_service.metrics.table import METRICS
from tests.support.requires import require

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "monitoring"
RUNBOOK = ROOT / "docs" / "operate" / "observe.md"
TESTS = ("alerts.test.yaml", "alerts-week.test.yaml")
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
# What `rate`, the panels and Prometheus itself add to names.
SUFFIX = re.compile(r"_(bucket|sum|count)$")
NAME = re.compile(r"\b(magnesium_cds_\w+|process_\w+)\b")


def promtool(*words: str) -> None:
    program = require("promtool", "checks alert rules and the dashboard's expressions", "prometheus")
    done = subprocess.run([program, *words], cwd=FOLDER, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


def known(name: str) -> bool:
    full = {metric.full_name: metric.kind for metric in METRICS.values()}
    return name in full or full.get(SUFFIX.sub("", name)) == "histogram"


def labels_of(expression: str) -> set[tuple[str, str]]:
    """Metric and label, as far as they stand together in braces."""
    return {
        (name, label)
        for name, inside in re.findall(r"\b((?:magnesium_cds|process)_\w+)\{([^}]*)\}", expression)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside)
    }


def test_promtool_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yaml")
    promtool("check", "rules", "alerts.yaml")


def test_each_alert_fires_on_what_it_is_for_and_on_nothing_else() -> None:
    promtool("test", "rules", *TESTS)


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    tried: dict[str, set[bool]] = {}
    for file in TESTS:
        for case in yaml.safe_load((FOLDER / file).read_text())["tests"]:
            for each in case["alert_rule_test"]:
                tried.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert {rule["alert"] for rule in RULES} == set(tried)
    assert all(ways == {True, False} for ways in tried.values())


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_each_alert_leads_to_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    heads = re.findall(r"^### (.*)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    assert anchor in {head.lower().replace(" ", "-") for head in heads}


def test_each_part_of_the_runbook_has_its_alert() -> None:
    text = RUNBOOK.read_text("utf-8")
    part = text[text.index("## Alerts") : text.index("## The log")]
    heads = {head.lower().replace(" ", "-") for head in re.findall(r"^### (.*)$", part, re.MULTILINE)}
    assert heads == {rule["annotations"]["runbook_url"].partition("#")[2] for rule in RULES}


def test_every_metric_named_in_alerts_and_dashboard_is_served() -> None:
    expressions = [rule["expr"] for rule in RULES] + [target["expr"] for target in TARGETS]
    named = {name for expression in expressions for name in NAME.findall(expression)}
    assert {name for name in named if not known(name)} == set()
    for expression in expressions:
        for name, label in labels_of(expression):
            metric = next(m for m in METRICS.values() if m.full_name in (name, SUFFIX.sub("", name)))
            assert label in {*metric.labels, "job", "instance", "le"}, f"{name} has no label {label}"


def test_every_metric_is_shown_on_the_dashboard() -> None:
    text = " ".join(target["expr"] for target in TARGETS)
    shown = {SUFFIX.sub("", name) for name in NAME.findall(text)} | set(NAME.findall(text))
    assert {metric.full_name for metric in METRICS.values()} - shown == set()


def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m").replace("$job", "a")}
        for number, target in enumerate(TARGETS)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    """As far as that can be told without Grafana: ids once, nothing overlaps, each target has its letter and source."""
    assert DASHBOARD["uid"] and DASHBOARD["title"] and DASHBOARD["schemaVersion"] >= 36
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${source}"
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == [chr(65 + number) for number in range(len(letters))]
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= {*variables, "__rate_interval"}
