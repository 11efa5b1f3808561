"""`echorank status`, as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from monitoring.discovery import Target
from monitoring.exporter import Exporter
from monitoring.metrics import Metrics
from tests.cluster.cli.command_line import run
from tests.cluster.operate.fake_gateway import fake_gateway


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[None]:
    """Metrics of a gateway and a shard, and of one actor that is gone;
    ./ray_config.yaml names the gateway's.
    """
    metrics = Metrics(CollectorRegistry())
    metrics.ingest_lag_records.labels("0").set(12)
    metrics.standby_lag_records.labels("0").set(7)
    metrics.snapshot_age_seconds.labels("0").set(4)
    metrics.state_users.labels("main", "hot").set(900)
    metrics.state_users.labels("main", "cold").set(43)
    metrics.state_bytes_per_user.labels("main").set(3210)
    metrics.folded_total.labels("main").inc(1000)
    metrics.unknown_items_total.labels("main", "event").inc(874)
    metrics.unknown_items_total.labels("main", "request").inc(5000)
    with Exporter(metrics.registry) as shard:
        targets = [
            Target(kind="shard", name="shard-0", address=shard.address),
            Target(kind="ingest", name="ingest-0", address="127.0.0.1:9"),
        ]
        with Exporter(CollectorRegistry(), targets=lambda: targets) as gateway:
            port = gateway.address.rpartition(":")[2]
            (tmp_path / "ray_config.yaml").write_text(f"monitoring: {{port: {port}}}\n")
            yield


@pytest.mark.usefixtures("monitored")
def test_status_joins_routing_health_and_metrics() -> None:
    """Partitions with owner, lag and snapshot age; arms with users and bytes;
    what is missing is null and named.
    """
    with fake_gateway() as address:
        data = json.loads(run("status", "--json", "--address", address).stdout)
        text = run("status", "--address", address)
    assert data["health"] == "SERVING"
    assert data["routing_version"] == 7
    owned, orphan = data["partitions"]
    assert (owned["partition"], owned["shard"], owned["epoch"]) == (0, "shard-0", 2)
    assert (owned["lag_records"], owned["snapshot_age_s"]) == (12, 4.0)
    assert (owned["ready"], owned["standby"]["shard"], owned["standby"]["epoch"]) == (
        True,
        "shard-1",
        3,
    )
    assert (owned["standby"]["ready"], owned["standby"]["lag_records"]) == (False, 7)
    assert (orphan["shard"], orphan["lag_records"], orphan["standby"]) == ("", None, None)
    assert [(arm["name"], arm["users"], arm["bytes_per_user"]) for arm in data["arms"]] == [
        ("main", 943, 3210.0)
    ]
    assert data["problems"] == ["ingest-0 at 127.0.0.1:9: [Errno 111] Connection refused"]
    assert data["arms"][0]["unknown_items"] == 0.874
    (warning,) = data["warnings"]
    assert warning.startswith(
        "arm main: 874 of 1,000 clicks (87%) are on items that its model does not know"
    )
    assert data["not_healthy"] == [
        "no ready owner of partition 1",
        "no answer from ingest-0",
        "unknown items of main",
    ]
    assert "87.4%" in text.stdout
    assert warning[:50] in text.stdout
    assert text.exit_code == 1
    assert (
        f"SERVING, but not healthy: {'; '.join(data['not_healthy'])}" in text.stdout.splitlines()[0]
    )
    assert all(
        part in text.stdout for part in ("SERVING", "nobody", "00c0ffee", "100 %", "943", "3,210")
    )


def test_status_without_metrics_still_shows_the_routing(tmp_path: Path) -> None:
    """No metrics server: gaps and a line that says where it was looked
    for; not serving exits with 1.
    """
    (tmp_path / "ray_config.yaml").write_text("monitoring: {port: 9}\n")
    with fake_gateway(health_pb2.HealthCheckResponse.NOT_SERVING) as address:
        result = run("status", "--address", address)
    assert result.exit_code == 1
    assert "NOT_SERVING" in result.stdout
    assert "http://127.0.0.1:9/sd" in result.stdout
