"""What `echorank status` shows: health, partitions, arms and processes, from one gateway's point of view."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.table import Table

from actors.channels import channel
from actors.errors import ShardUnavailable
from cluster.notices import known_items, notices_of
from cluster.scrape import Scraped, scrape, values

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cluster.client import Client
    from rpc import echorank_pb2 as pb

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
    """One partition: its owner and standby, and how far behind and how safe its states are. None: not measured."""

    partition: int
    shard: str
    address: str
    epoch: int
    ready: bool
    standby: StandbyStatus | None
    lag_records: int | None
    snapshot_age_s: float | None


@dataclass(frozen=True, kw_only=True)
class ArmStatus:
    """One arm: its model, its share of the traffic in 10,000ths, and its states. None: not measured.

    `unknown_items` is the share of its clicks, since the shards started, whose item the model does not know.
    """

    name: str
    role: str
    weight: int
    model_version: str
    users: int | None
    bytes_per_user: float | None
    unknown_items: float | None
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

    `problems` says what could not be learned, `warnings` what somebody should look at although it is served.
    """

    address: str
    health: str
    routing_version: int
    partitions: list[PartitionStatus]
    arms: list[ArmStatus]
    processes: list[ProcessStatus]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


async def gather(client: Client, monitoring: str) -> Report:
    """Ask the gateway for health and routing, and every process for its metrics.

    Metrics that cannot be had leave gaps and a line in `problems`; a gateway that does not answer is an error.
    """
    health, routing = await asyncio.gather(_health(client.address), client.routing())
    scraped, problems = [], []
    try:
        scraped = await asyncio.to_thread(scrape, monitoring)
    except ShardUnavailable as error:
        problems.append(str(error))
    problems += [f"{one.labels['instance']} at {one.address}: {one.error}" for one in scraped if one.error]
    return Report(
        address=client.address,
        health=health,
        routing_version=routing.version,
        partitions=list(_partitions(routing, scraped)),
        arms=list(_arms(routing, scraped)),
        processes=[_process(one) for one in scraped],
        problems=problems,
        warnings=[notice.text for notice in notices_of(scraped)],
    )


async def _health(address: str) -> str:
    """What the gateway says of itself: SERVING or NOT_SERVING."""
    async with channel(address) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def _partitions(routing: pb.RoutingResponse, scraped: list[Scraped]) -> Iterator[PartitionStatus]:
    lag = {labels["partition"]: value for labels, value in values(scraped, "echorank_ingest_lag_records")}
    standby_lag = {labels["partition"]: at for labels, at in values(scraped, "echorank_standby_lag_records")}
    age = {labels["partition"]: value for labels, value in values(scraped, "echorank_snapshot_age_seconds")}
    for route in sorted(routing.routes, key=lambda route: route.partition):
        name = str(route.partition)
        yield PartitionStatus(
            partition=route.partition,
            shard=route.shard,
            address=route.address,
            epoch=route.epoch,
            ready=route.ready,
            standby=_standby(route.standby, standby_lag.get(name)) if route.HasField("standby") else None,
            lag_records=int(lag[name]) if name in lag else None,
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
    lags = _arm_lags(routing, scraped)
    for arm in routing.arms:
        counts = [value for labels, value in users if labels["arm"] == arm.name]
        yield ArmStatus(
            name=arm.name,
            role=arm.role,
            weight=arm.weight,
            model_version=arm.model_version,
            users=int(sum(counts)) if counts else None,
            bytes_per_user=max((value for labels, value in size if labels["arm"] == arm.name), default=None),
            unknown_items=known[arm.name].share if arm.name in known and known[arm.name].events else None,
            lag_records=lags.get(arm.name),
        )


def _arm_lags(routing: pb.RoutingResponse, scraped: list[Scraped]) -> dict[str, int]:
    """How far each arm is behind the log's end where it is furthest, by what the partitions' owners say."""
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


def render(report: Report) -> Iterator[RenderableType]:
    """The report as rich tables, a headline first."""
    color = "green" if report.health == "SERVING" else "red"
    health = f"[{color}]{report.health}[/{color}]"
    yield f"[bold]{report.address}[/bold] is {health} (routing table {report.routing_version})"
    yield _partition_table(report)
    arms = Table("arm", "role", "traffic", "model", "lag", "users", "bytes a user", "unknown items", title="Arms")
    for arm in report.arms:
        traffic = f"{arm.weight / 100:g} %"
        unknown = None if arm.unknown_items is None else f"{arm.unknown_items:.1%}"
        sizes = (arm.lag_records, arm.users, arm.bytes_per_user, unknown)
        arms.add_row(*map(_cell, (arm.name, arm.role, traffic, arm.model_version, *sizes)))
    yield arms
    processes = Table("process", "kind", "metrics", "memory", title="Processes")
    for one in report.processes:
        memory = None if one.resident_bytes is None else f"{one.resident_bytes / 2**20:,.0f} MiB"
        processes.add_row(*map(_cell, (one.name, one.kind, one.address, one.error or memory)))
    yield processes
    for problem in (*report.problems, *report.warnings):
        yield f"[yellow]{problem}[/yellow]"


def _partition_table(report: Report) -> Table:
    """Replicas that are not ready are marked, as in `shard-1 (epoch 7, not ready)`."""
    table = Table("partition", "owner", "address", "standby", "lag", "snapshot age", title="Partitions")
    for row in report.partitions:
        age = None if row.snapshot_age_s is None else f"{row.snapshot_age_s:.1f} s"
        owner = _replica(row.shard, row.epoch, row.address, row.ready)
        standby = row.standby and _replica(row.standby.shard, row.standby.epoch, row.standby.address, row.standby.ready)
        table.add_row(*map(_cell, (row.partition, owner, row.address, standby, row.lag_records, age)))
    return table


def _replica(shard: str, epoch: int, address: str, ready: bool) -> str:
    if not shard:
        return "nobody"
    state = "ready" if ready else "[yellow]not ready[/yellow]" if address else "[red]dead[/red]"
    return f"{shard} (epoch {epoch}, {state})"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
