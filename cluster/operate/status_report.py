"""What `echorank status` shows: health, partitions, arms and processes,
from one gateway's point of view.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.samples import Sample

from actors.calls.channels import channel
from actors.errors import ShardUnavailable
from cluster.operate.notices import (
    ages_days,
    known_items,
    models,
    notices_of,
    numbers,
    silences,
)
from cluster.scrape import Scraped, scrape, values
from rpc import echorank_pb2 as pb

if TYPE_CHECKING:
    from cluster.operate.client import Client

HEALTH_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class StandbyStatus:
    """The replica that takes over when the owner dies."""

    shard: str
    address: str
    epoch: int
    ready: bool
    lag_records: int | None


@dataclass(frozen=True, kw_only=True)
class PartitionStatus:
    """One partition: its owner and standby,
    and how far behind and how safe its states are. None: not measured.
    """

    partition: int
    shard: str
    address: str
    epoch: int
    ready: bool
    standby: StandbyStatus | None
    lag_records: int | None
    silence_s: float | None
    snapshot_age_s: float | None


@dataclass(frozen=True, kw_only=True)
class ArmStatus:
    """One arm: its model, its share of the traffic in 10,000ths,
    and its states. None: not measured.

    `models` are the versions that its processes run, each with their names: one, unless something
    is wrong. `unknown_items` is the share of its clicks, since the shards started, whose item the
    model does not know.
    """

    name: str
    role: str
    weight: int
    model_version: str
    models: dict[str, list[str]]
    users: int | None
    bytes_per_user: float | None
    unknown_items: float | None
    # since the newest click that its model learned from; None: it does not say
    age_days: float | None = None
    lag_records: int | None = None  # in the owner's state of the partition that is furthest behind


@dataclass(frozen=True, kw_only=True)
class ProcessStatus:
    """One actor's process, and why it does not answer if it does not."""

    name: str
    kind: str
    address: str
    error: str | None
    resident_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it. `health` is the gateway's gRPC health.

    `not_healthy` says in a few words each what is wrong, and is empty where all is well; `problems`
    says what could not be learned, `warnings` what somebody should look at although it is served.
    """

    address: str
    health: str
    not_healthy: list[str]
    routing_version: int
    partitions: list[PartitionStatus]
    arms: list[ArmStatus]
    processes: list[ProcessStatus]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def gather(client: Client, monitoring: str) -> Report:
    """Ask the gateway for health and routing, and every process for its metrics.

    Metrics that cannot be had leave gaps and a line in `problems`; a gateway that does not answer
    is an error.
    """
    health, routing = await asyncio.gather(_health(client.address), client.routing())
    scraped = []
    problems = []
    try:
        scraped = await asyncio.to_thread(scrape, monitoring)
    except ShardUnavailable as error:
        problems.append(str(error))
    partitions = list(_partitions(routing, scraped))
    notices = notices_of([*scraped, _routed(routing)])
    ill = [notice.matter for notice in notices if notice.ill]
    return Report(
        address=client.address,
        health=health,
        not_healthy=[*_wrong(health, partitions, scraped), *ill],
        routing_version=routing.version,
        partitions=partitions,
        arms=list(_arms(routing, scraped)),
        processes=[_process(one) for one in scraped],
        problems=problems
        + [
            f"{one.labels['instance']} at {one.address}: {one.error}"
            for one in scraped
            if one.error
        ],
        warnings=[notice.text for notice in notices],
    )


def _wrong(health: str, partitions: list[PartitionStatus], scraped: list[Scraped]) -> Iterator[str]:
    """What is wrong apart from what the metrics tell."""
    if health != "SERVING":
        yield health
    if waiting := [row.partition for row in partitions if not row.ready]:
        yield f"no ready owner of partition{'s' * (len(waiting) > 1)} {numbers(waiting)}"
    if not scraped:
        yield "no metrics"
    if silent := [one.labels["instance"] for one in scraped if one.error]:
        yield f"no answer from {', '.join(sorted(silent))}"


def _routed(routing: pb.RoutingResponse) -> Scraped:
    """The models that the coordinator names, as if it were one of the processes that run them."""
    named = [{"arm": arm.name, "version": arm.model_version} for arm in routing.arms]
    samples = [Sample("echorank_model_info", labels, 1) for labels in named]
    return Scraped(address="", labels={"instance": "the routing table"}, samples=samples)


async def _health(address: str) -> str:
    """What the gateway says of itself: SERVING or NOT_SERVING."""
    async with channel(address) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def _partitions(routing: pb.RoutingResponse, scraped: list[Scraped]) -> Iterator[PartitionStatus]:
    lag = {
        labels["partition"]: value
        for labels, value in values(scraped, "echorank_ingest_lag_records")
    }
    standby_lag = {
        labels["partition"]: at for labels, at in values(scraped, "echorank_standby_lag_records")
    }
    age = {
        labels["partition"]: value
        for labels, value in values(scraped, "echorank_snapshot_age_seconds")
    }
    silence = silences(scraped)
    routes = {route.partition: route for route in routing.routes}
    for partition in sorted({*range(routing.partitions), *routes}):
        # one that nobody holds is left out of the table for clients: all its fields are empty
        route = routes.get(partition) or pb.PartitionRoute(partition=partition)
        name = str(partition)
        yield PartitionStatus(
            partition=partition,
            shard=route.shard,
            address=route.address,
            epoch=route.epoch,
            ready=route.ready,
            standby=_standby(route.standby, standby_lag.get(name))
            if route.HasField("standby")
            else None,
            lag_records=int(lag[name]) if name in lag else None,
            silence_s=silence.get(partition),
            snapshot_age_s=age.get(name),
        )


def _standby(route: pb.StandbyRoute, lag: float | None) -> StandbyStatus:
    return StandbyStatus(
        shard=route.shard,
        address=route.address,
        epoch=route.epoch,
        ready=route.ready,
        lag_records=None if lag is None else int(lag),
    )


def _arms(routing: pb.RoutingResponse, scraped: list[Scraped]) -> Iterator[ArmStatus]:
    users = list(values(scraped, "echorank_state_users"))
    size = list(values(scraped, "echorank_state_bytes_per_user"))
    known = known_items(scraped)
    running = models(scraped)
    lags = _arm_lags(routing, scraped)
    ages = ages_days(scraped)
    for arm in routing.arms:
        counts = [value for labels, value in users if labels["arm"] == arm.name]
        yield ArmStatus(
            name=arm.name,
            role=arm.role,
            weight=arm.weight,
            model_version=arm.model_version,
            models=running.get(arm.name, {}),
            users=int(sum(counts)) if counts else None,
            bytes_per_user=max(
                (value for labels, value in size if labels["arm"] == arm.name), default=None
            ),
            unknown_items=known[arm.name].share
            if arm.name in known and known[arm.name].events
            else None,
            age_days=ages.get(arm.name),
            lag_records=lags.get(arm.name),
        )


def _arm_lags(routing: pb.RoutingResponse, scraped: list[Scraped]) -> dict[str, int]:
    """How far each arm is behind the log's end where it is furthest,
    by what the partitions' owners say.
    """
    owners = {str(route.partition): route.shard for route in routing.routes}
    lags: dict[str, int] = {}
    for one in scraped:
        for labels, value in values([one], "echorank_arm_lag_records"):
            if owners.get(labels["partition"]) == one.labels["instance"] and not math.isnan(value):
                lags[labels["arm"]] = max(int(value), lags.get(labels["arm"], 0))
    return lags


def _process(one: Scraped) -> ProcessStatus:
    resident = next((value for _, value in values([one], "process_resident_memory_bytes")), None)
    return ProcessStatus(
        name=one.labels["instance"],
        kind=one.labels["actor"],
        address=one.address,
        error=one.error,
        resident_bytes=resident,
    )


def to_json(report: Report) -> str:
    """The report as one JSON object; what was not measured is null."""
    return json.dumps(dataclasses.asdict(report), indent=2)
