"""A real shard behind a real gRPC server in this process, for tests of the serving path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.deadline import Pace
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.clicks.click import ClickBatch, key
from actors.clicks.partitioner import partition_of
from actors.clock import ManualClock
from actors.serve.exposure import ExposureLog
from actors.serve.limits import RequestLimits
from actors.serve.scoring import ScoringService
from actors.shard.applied import AppliedOffsets
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.metrics import Metrics
from rpc import echorank_pb2_grpc as pb_grpc

PARTITIONS = 4
ITEMS = tuple(f"item-{number}" for number in range(40))
NOW_MS = 1_700_000_000_000
MESSAGE_BYTES_MAX = 65_536
EIGHT = Bounds(queue_max=8)
SMALL_LIMITS = RequestLimits(candidates_max=20, id_bytes_max=16)


@dataclass
class ServedShard:
    """What a test needs of a shard."""

    address: str
    shard: Shard
    service: ScoringService
    server: RpcServer
    requests: RequestInterceptor
    metrics: Metrics
    stub: pb_grpc.ScoringStub

    def click(self, user: str, *items: str) -> int:
        """Apply one click of `user` on each of `items`; the next offset of the user's partition."""
        partition = partition_of(user, PARTITIONS)
        start = self.shard.positions()[partition]
        return self.shard.apply(clicks(partition, start, user, items), epoch=1)

    def counted(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"echorank_{name}", labels) or 0.0


def clicks(partition: int, start: int, user: str, items: Iterable[str]) -> ClickBatch:
    """One click a millisecond up to NOW_MS, in consecutive offsets from `start`."""
    keys = np.array([key(item) for item in items], dtype=np.uint64)
    count = len(keys)
    times_ms = np.arange(NOW_MS - count + 1, NOW_MS + 1, dtype=np.int64)
    return ClickBatch(
        partition=partition,
        start=start,
        stop=start + count,
        offsets=np.arange(start, start + count, dtype=np.int64),
        users=np.full(count, key(user), dtype=np.uint64),
        items=keys,
        actions=np.full(count, key("click"), dtype=np.uint64),
        times_ms=times_ms,
        record_ms=times_ms,
    )


@asynccontextmanager
async def served_shard(
    directory: Path,
    *,
    name: str = "shard-0",
    partitions: Iterable[int] = range(PARTITIONS),
    arms: Mapping[str, Bundle] | None = None,
    limits: RequestLimits = SMALL_LIMITS,
    bounds: Bounds = EIGHT,
    pace: type[Pace] = Pace,
    exposures: ExposureLog | None = None,
) -> AsyncIterator[ServedShard]:
    """A shard that owns `partitions` under epoch 1, listening on a free port."""
    metrics = Metrics(CollectorRegistry())
    clock = ManualClock(NOW_MS + 5_000)
    arms = arms or {"main": random_bundle(ModelConfig(), ITEMS)}
    snapshots = SnapshotStore.from_uri(str(directory / name), kept=2)
    shard = Shard(name, arms, snapshots, metrics, clock, ShardSettings(users_initial=16))
    for partition in partitions:
        shard.hold(partition, epoch=1)
    applied = AppliedOffsets(asyncio.get_running_loop())
    shard.on_applied(applied.notify)
    with ThreadPoolExecutor(2) as executor:
        service = ScoringService(
            shard=shard,
            arms=arms,
            partitions=PARTITIONS,
            limits=limits,
            metrics=metrics,
            clock=clock,
            executor=executor,
            applied=applied,
            exposures=exposures,
            pace=pace,
        )
        requests = RequestInterceptor(metrics, bounds)
        server = RpcServer(
            lambda target: pb_grpc.add_ScoringServicer_to_server(service, target),
            requests,
            MESSAGE_BYTES_MAX,
        )
        address = await server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(address) as channel:
            yield ServedShard(
                address, shard, service, server, requests, metrics, pb_grpc.ScoringStub(channel)
            )
        await server.stop(grace_s=0)


def user_of(partition: int, avoid: str = "") -> str:
    """Some user whose home is `partition`."""
    users = (f"user-{number}" for number in range(1000))
    return next(
        user for user in users if partition_of(user, PARTITIONS) == partition and user != avoid
    )
