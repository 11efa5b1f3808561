"""Names of metrics, as declared, as exposed, and as expressions use them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from monitoring.metrics import Metrics

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))


def declared() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Type and labels of each metric of `Metrics`, by its name with the prefix."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    # the library tells the names of labels only with samples, and without values there are none
    labels = {
        getattr(metric, "_name", ""): getattr(metric, "_labelnames", ())
        for metric in vars(metrics).values()
    }
    return {family.name: (family.type, labels[family.name]) for family in registry.collect()}


def series() -> dict[str, set[str]]:
    """Labels of every series name that a process exposes,
    with those that discovery and buckets add.
    """
    target = {"job", "instance", "actor", "shard"}
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {
        name + ending: {*labels, *target, *(["le"] if ending == "_bucket" else [])}
        for name, (kind, labels) in declared().items()
        for ending in endings[kind]
    }


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every rule file."""
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def names_in(expression: str) -> set[str]:
    """The names of series in an expression, those of recording rules (with colons) included."""
    return set(re.findall(r"(?<![\w:])(?:\w+:)?echorank_\w+(?::\w+)*", expression))


def metric_of(name: str) -> str:
    """The declared metric that a series or a recording rule's name stands for."""
    plain = name.split(":")[1] if ":" in name else name
    return re.sub(r"_(total|bucket|sum|count)$", "", plain)
