from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from actors.serve.traffic import Arm
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.processes.gateway_process import GatewayProcess
from monitoring.discovery import Target
from monitoring.metrics import Metrics

TARGET = Target(kind="gateway", name="gateway", address="127.0.0.1:9")
READY = RoutingTable(
    version=1,
    routes=(Route(owner=Replica(shard="shard-0", epoch=1, address="127.0.0.1:1", ready=True)),),
    arms=(Arm(name="main", model_version="v", role="live", weight=10_000),),
    targets=(TARGET,),
)
LAGGING = replace(READY.routes[0].owner, ready=False)
WAITING = replace(READY, routes=(Route(owner=LAGGING),))
STANDING_BY = Replica(shard="shard-1", epoch=2, address="127.0.0.1:2", ready=True)


@dataclass
class FakeCoordinator:
    """Hands out the tables that a test puts in."""

    joined: list[Target] = field(default_factory=list)
    tables: asyncio.Queue[RoutingTable] = field(default_factory=asyncio.Queue)

    async def join(self, target: Target) -> None:
        """Remember who came."""
        self.joined.append(target)

    async def follow(self, take: Callable[[RoutingTable], Awaitable[None]]) -> None:
        """Pass on table after table."""
        while True:
            await take(await self.tables.get())
            self.tables.task_done()


@dataclass
class Started:
    """A gateway's process and what is around it."""

    process: GatewayProcess
    coordinator: FakeCoordinator
    metrics: Metrics
    health: health_pb2_grpc.HealthStub

    async def publish(self, table: RoutingTable) -> None:
        """Return when the gateway has taken the table."""
        self.coordinator.tables.put_nowait(table)
        await self.coordinator.tables.join()

    async def serving(self) -> bool:
        """What a health check says."""
        answer = await self.health.Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture
async def started() -> AsyncIterator[Started]:
    """A gateway that listens and follows."""
    metrics = Metrics(CollectorRegistry())
    coordinator = FakeCoordinator()
    gateway = Gateway(limits=RequestLimits(), salt="s", message_bytes_max=65_536, metrics=metrics)
    server = RpcServer(gateway.add_to, RequestInterceptor(metrics, Bounds(queue_max=8)), 65_536)
    process = GatewayProcess(
        gateway=gateway,
        server=server,
        host="127.0.0.1",
        port=0,
        coordinator=coordinator,
        metrics=metrics,
    )
    async with grpc.aio.insecure_channel(await process.start(TARGET)) as channel:
        running = asyncio.create_task(process.run())
        yield Started(process, coordinator, metrics, health_pb2_grpc.HealthStub(channel))
        running.cancel()
        await process.stop(grace_s=0)


async def test_health_follows_the_table(started: Started) -> None:
    """NOT_SERVING without a table and while a partition catches up,
    and the reason is said; then SERVING.
    """
    assert started.process.trouble() == "the gateway has no routing table yet"
    assert not await started.serving()
    await started.publish(WAITING)
    assert started.process.trouble() == (
        "partitions [0] have no live owner, or one that is still catching up, and no standby"
    )
    assert not await started.serving()
    await started.publish(READY)
    assert started.process.trouble() is None
    assert await started.serving()


async def test_a_partition_that_falls_behind_turns_health(started: Started) -> None:
    """After a restart of its shard, until that has caught up."""
    await started.publish(READY)
    await started.publish(WAITING)
    assert not await started.serving()


async def test_a_ready_standby_keeps_health(started: Started) -> None:
    """While it takes over from a dead owner, partitions are answered;
    a standby that lags is no help.
    """
    await started.publish(replace(READY, routes=(Route(owner=LAGGING, standby=STANDING_BY),)))
    assert await started.serving()
    await started.publish(
        replace(READY, routes=(Route(owner=LAGGING, standby=replace(STANDING_BY, ready=False)),))
    )
    assert not await started.serving()


async def test_draining_is_trouble(started: Started) -> None:
    """Load balancers see it before the port closes."""
    await started.publish(READY)
    await started.process.stop(grace_s=0)
    assert started.process.trouble() == "the gateway is draining"


async def test_targets_and_weights_come_from_the_table(started: Started) -> None:
    """The gateway joins, then shows every process's metrics and each arm's share."""
    assert started.coordinator.joined == [TARGET]
    assert list(started.process.targets()) == []
    await started.publish(READY)
    assert list(started.process.targets()) == [TARGET]
    assert started.metrics.registry.get_sample_value("echorank_arm_weight", {"arm": "main"}) == 1.0
