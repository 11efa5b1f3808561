"""A gateway in this process, before two real shards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.serve.gateway import Gateway
from actors.serve.limits import RequestLimits
from actors.serve.traffic import Arm
from cluster.coordinator.routing import Replica, Route, RoutingTable
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc
from tests.actors.serve.served_shard import (
    EIGHT,
    ITEMS,
    MESSAGE_BYTES_MAX,
    PARTITIONS,
    ServedShard,
    served_shard,
    user_of,
)

# of shard-0 and of shard-1
LOW = user_of(0)
HIGH = user_of(3)
BUNDLES = {
    name: random_bundle(ModelConfig(), ITEMS, seed) for seed, name in enumerate(("main", "next"))
}
ARMS = (
    Arm(name="main", model_version=BUNDLES["main"].version, role="live", weight=10_000),
    Arm(name="next", model_version=BUNDLES["next"].version, role="shadow", weight=0),
)


@dataclass
class Door:
    """A gateway with its server, and two shards behind it."""

    gateway: Gateway
    server: RpcServer
    address: str
    channel: grpc.aio.Channel
    stub: pb_grpc.ScoringStub
    metrics: Metrics
    shards: tuple[ServedShard, ServedShard]

    def table(self, version: int, addresses: tuple[str, str] | None = None) -> RoutingTable:
        """Partitions 0 and 1 at the first address, 2 and 3 at the second."""
        first, second = addresses or (self.shards[0].address, self.shards[1].address)
        owners = [
            Replica(shard=f"shard-{p // 2}", epoch=1, address=(first, second)[p // 2])
            for p in range(PARTITIONS)
        ]
        routes = [Route(owner=owner) for owner in owners]
        return RoutingTable(version=version, routes=tuple(routes), arms=ARMS)


@asynccontextmanager
async def opened(directory: Path, bounds: Bounds = EIGHT) -> AsyncIterator[Door]:
    """A gateway before two shards, without a routing table yet."""
    async with AsyncExitStack() as stack:
        shards = [
            await stack.enter_async_context(
                served_shard(
                    directory, name=f"shard-{n}", partitions=(2 * n, 2 * n + 1), arms=BUNDLES
                )
            )
            for n in (0, 1)
        ]
        metrics = Metrics(CollectorRegistry())
        limits = RequestLimits(id_bytes_max=16)
        gateway = Gateway(
            limits=limits, salt="s", message_bytes_max=MESSAGE_BYTES_MAX, metrics=metrics
        )
        server = RpcServer(gateway.add_to, RequestInterceptor(metrics, bounds), MESSAGE_BYTES_MAX)
        address = await server.start("127.0.0.1", 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        stub = pb_grpc.ScoringStub(channel)
        yield Door(gateway, server, address, channel, stub, metrics, (shards[0], shards[1]))
        await server.stop(grace_s=0)
        await gateway.close()


@pytest.fixture
async def closed_door(tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway that has no routing table yet."""
    async with opened(tmp_path) as door:
        yield door


@pytest.fixture
async def door(closed_door: Door) -> Door:
    """A gateway that knows the way to both shards."""
    closed_door.gateway.follow(closed_door.table(1))
    return closed_door
