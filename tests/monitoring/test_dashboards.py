"""Grafana dashboards and provisioning: complete, addressable, and about metrics that exist."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus_names import (
    DASHBOARDS,
    MONITORING,
    declared,
    metric_of,
    names_in,
    rules,
    series,
)

COMPOSE = yaml.safe_load((MONITORING.parent / "docker-compose.yml").read_text())
BOARDS = {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions(board: dict[str, Any]) -> Iterator[str]:
    """Every query of a dashboard."""
    return (target["expr"] for panel in panels(board) for target in panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_can_be_linked_to_and_works_with_any_data_source(name: str) -> None:
    """A fixed uid, a data-source variable used by each panel and query,
    and panels that say what they show.
    """
    board = BOARDS[name]
    assert board["uid"] == f"echorank-{name}"
    assert (
        board["templating"]["list"][0] | {"name": "datasource", "type": "datasource"}
        == board["templating"]["list"][0]
    )
    for panel in panels(board):
        assert panel["description"], panel["title"]
        assert {panel["datasource"]["uid"]} | {
            t["datasource"]["uid"] for t in panel["targets"]
        } == {"${datasource}"}
        assert all('job="$job"' in target["expr"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_their_own_ids_and_places(name: str) -> None:
    """No two panels share an id or a cell of the grid of 24 columns."""
    every = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in every)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("name", BOARDS)
def test_queries_name_series_that_exist(name: str) -> None:
    """A renamed metric breaks the dashboard here, not as an empty panel."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions(BOARDS[name]):
        assert names_in(expression) <= series().keys() | recorded, expression


def test_each_metric_is_on_a_dashboard() -> None:
    """What is measured can be seen; a new metric needs a panel."""
    shown = {
        metric_of(name)
        for board in BOARDS.values()
        for query in expressions(board)
        for name in names_in(query)
    }
    assert set(declared()) <= shown


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is missing; install it: sudo apt-get install -y prometheus",
)
def test_prometheus_can_parse_each_query(tmp_path: Path) -> None:
    """Each query, with Grafana's variables filled in, is valid PromQL."""
    queries = [query for board in BOARDS.values() for query in expressions(board)]
    filled = [
        query.replace("$__rate_interval", "1m").replace("$job", "echorank") for query in queries
    ]
    group = {
        "name": "queries",
        "rules": [{"record": f"query_{i}", "expr": q} for i, q in enumerate(filled)],
    }
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [group]}))
    done = subprocess.run(
        ["promtool", "check", "rules", file],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_provisioning_fits_the_containers() -> None:
    """What compose mounts exists, and Grafana looks for data source and
    dashboards where they are mounted.
    """
    mounts = {}
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            mounts[target] = source
            assert not source.startswith(".") or (MONITORING.parent / source).exists(), source
    provider = yaml.safe_load(
        (MONITORING / "grafana/provisioning/dashboards/echorank.yml").read_text()
    )
    assert mounts[provider["providers"][0]["options"]["path"]] == "./monitoring/grafana/dashboards"
    source = yaml.safe_load(
        (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    listen = next(a for a in COMPOSE["services"]["prometheus"]["command"] if "listen-address" in a)
    assert source["datasources"][0]["url"] == f"http://{listen.partition('=')[2]}"
