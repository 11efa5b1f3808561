"""The HTTP side of a process, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitoring.discovery import Target
from monitoring.exporter import Exporter, PortInUse
from monitoring.metrics import Metrics


class Gateway:
    """A stand-in for what the gateway knows: its targets and its health."""

    def __init__(self) -> None:
        self.targets = [Target(kind="shard", name="shard-0", address="127.0.0.1:7001")]
        self.wrong: str | None = None


@pytest.fixture
def gateway() -> Gateway:
    """What the exporter asks."""
    return Gateway()


@pytest.fixture
def metrics() -> Metrics:
    """Fresh metrics in a registry of their own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def exporter(gateway: Gateway, metrics: Metrics) -> Iterator[Exporter]:
    """A gateway's exporter on a free port."""
    with Exporter(
        metrics.registry, targets=lambda: gateway.targets, health=lambda: gateway.wrong
    ) as running:
        yield running


def get(exporter: Exporter, path: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body of a page."""
    with closing(HTTPConnection(exporter.address, timeout=5)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def test_metrics_come_with_those_of_the_process(exporter: Exporter, metrics: Metrics) -> None:
    """One page holds our metrics, the process's memory and Python's garbage collector."""
    metrics.events_total.labels(partition="3", outcome="applied").inc(7)
    _, kind, body = get(exporter, "/metrics")
    assert kind.startswith("text/plain")
    assert 'echorank_events_total{outcome="applied",partition="3"} 7.0' in body
    assert "process_resident_memory_bytes" in body
    assert "python_gc_objects_collected_total" in body
    assert "python_info{" in body


def test_openmetrics_is_spoken_to_those_who_ask(exporter: Exporter, metrics: Metrics) -> None:
    """With the Accept header of Prometheus the page parses as
    OpenMetrics and ends with its end mark.
    """
    metrics.arm_weight.labels(arm="main").set(1)
    _, kind, body = get(exporter, "/metrics", Accept="application/openmetrics-text;version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert families["echorank_arm_weight"].samples[0].value == 1


def test_discovery_follows_the_actors(exporter: Exporter, gateway: Gateway) -> None:
    """The page is made anew at each request, so that a moved actor is found."""
    gateway.targets = [
        Target(kind="shard", name="shard-1", address="127.0.0.1:7002"),
        Target(kind="gateway", name="gateway", address=exporter.address),
    ]
    _, kind, body = get(exporter, "/sd")
    assert kind == "application/json"
    assert json.loads(body) == [
        {
            "targets": [exporter.address],
            "labels": {
                "__meta_echorank_address": exporter.address,
                "actor": "gateway",
                "instance": "gateway",
            },
        },
        {
            "targets": ["127.0.0.1:7002"],
            "labels": {
                "__meta_echorank_address": "127.0.0.1:7002",
                "actor": "shard",
                "instance": "shard-1",
                "shard": "shard-1",
            },
        },
    ]


def test_health_says_what_is_wrong(exporter: Exporter, gateway: Gateway) -> None:
    """200 while well, 503 with the reason otherwise."""
    assert get(exporter, "/healthz")[::2] == (200, "ok\n")
    gateway.wrong = "partition 3 lags 4,000 records"
    assert get(exporter, "/healthz")[::2] == (503, "partition 3 lags 4,000 records\n")


def test_unknown_path_names_the_known_ones(metrics: Metrics) -> None:
    """A wrong path is 404; a process without targets does not offer /sd."""
    with Exporter(metrics.registry) as exporter:
        assert get(exporter, "/sd")[::2] == (404, "nothing at /sd; there is /metrics, /healthz\n")


def test_port_in_use_is_named(exporter: Exporter) -> None:
    """A second server on the port fails with the address and the setting to change."""
    port = int(exporter.address.rpartition(":")[2])
    registry = CollectorRegistry()
    with pytest.raises(PortInUse, match=rf"127\.0\.0\.1:{port} .*monitoring\.port"):
        Exporter(registry, port=port)


def test_close_frees_the_port(metrics: Metrics) -> None:
    """The port can be bound again at once."""
    with Exporter(metrics.registry) as first:
        port = int(first.address.rpartition(":")[2])
    with Exporter(CollectorRegistry(), port=port) as second:
        assert second.address == f"127.0.0.1:{port}"


def test_wildcard_host_is_not_published() -> None:
    """A server on all addresses publishes one that others can reach."""
    with Exporter(CollectorRegistry(), host="0.0.0.0", advertised_host="10.0.0.7") as exporter:
        assert exporter.address.startswith("10.0.0.7:")
    with Exporter(CollectorRegistry(), host="0.0.0.0") as exporter:
        assert not exporter.address.startswith("0.0.0.0")
