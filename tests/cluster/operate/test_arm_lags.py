"""What `echorank status` says of each arm."""

from __future__ import annotations

import math

from prometheus_client.samples import Sample

from cluster.operate.status_report import _arms
from cluster.scrape import Scraped
from rpc import echorank_pb2 as pb


def shard(name: str, *lags: tuple[str, str, float]) -> Scraped:
    """A shard's metrics: partition, arm, lag."""
    samples = [
        Sample("echorank_arm_lag_records", {"partition": p, "arm": arm}, lag)
        for p, arm, lag in lags
    ]
    return Scraped(address="a:1", labels={"instance": name, "actor": "shard"}, samples=samples)


def test_an_arm_is_as_far_behind_as_its_slowest_owner() -> None:
    """Standbys do not count, nor who knows no end; an arm that nobody measured has none."""
    routing = pb.RoutingResponse(
        routes=[
            pb.PartitionRoute(partition=0, shard="shard-0"),
            pb.PartitionRoute(partition=1, shard="shard-1"),
        ],
        arms=[pb.ArmInfo(name=name) for name in ("main", "next", "silent")],
    )
    scraped = [
        shard("shard-0", ("0", "main", 3), ("0", "next", 900), ("1", "main", 7000)),
        shard("shard-1", ("1", "main", 5), ("1", "next", 400), ("1", "silent", math.nan)),
    ]
    assert {arm.name: arm.lag_records for arm in _arms(routing, scraped)} == {
        "main": 5,
        "next": 900,
        "silent": None,
    }
