from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from actors.clock import ManualClock
from actors.errors import StaleEpoch
from actors.interceptor import RequestInterceptor
from actors.server import RpcServer
from actors.shard import Shard, ShardSettings
from actors.snapshot import SnapshotStore
from cluster.shard_process import ShardProcess
from model.bundle import Bundle, random_bundle
from model.config import ModelConfig
from monitoring.discovery import Target
from monitoring.metrics import Metrics
from tests.actors.served_shard import ITEMS, clicks

TARGET = Target(kind="shard", name="shard-0", address="127.0.0.1:9")


@dataclass
class FakeRegistry:
    """Gives out partitions 0 and 2, and hears who is ready."""

    epoch: int = 1
    address: str = ""
    heard: asyncio.Queue[dict[int, int]] = field(default_factory=asyncio.Queue)

    async def register(self, shard: str, address: str, target: Target) -> dict[int, int]:
        """The partitions under the current epoch."""
        assert (shard, target) == ("shard-0", TARGET)
        self.address = address
        return {0: self.epoch, 2: self.epoch}

    async def ready(self, epochs: Mapping[int, int]) -> None:
        """Remember what was said."""
        self.heard.put_nowait(dict(epochs))


@dataclass
class Started:
    """A shard's process and what is around it."""

    process: ShardProcess
    registry: FakeRegistry
    clock: ManualClock


def process_of(
    directory: Path, registry: FakeRegistry, clock: ManualClock, bundle: Bundle | None = None
) -> ShardProcess:
    """A process that restores from `directory`."""
    metrics = Metrics(CollectorRegistry())
    shard = Shard(
        "shard-0",
        {"main": bundle or random_bundle(ModelConfig(), ITEMS)},
        SnapshotStore.from_uri(str(directory), kept=2),
        metrics,
        clock,
        ShardSettings(ready_lag_records_max=2, users_initial=16),
    )
    server = RpcServer(lambda _: None, RequestInterceptor(metrics, 8), 65_536)
    return ShardProcess(shard=shard, server=server, host="127.0.0.1", registry=registry, target=TARGET)


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    """A running shard process."""
    registry, clock = FakeRegistry(), ManualClock()
    process = process_of(tmp_path, registry, clock)
    await process.start()
    running = asyncio.create_task(process.run())
    yield Started(process, registry, clock)
    running.cancel()
    await process.stop(grace_s=0)


async def test_it_serves_what_the_coordinator_assigns(started: Started) -> None:
    """Both partitions start at offset 0, and the address that was registered answers."""
    assert await started.process.positions() == {0: 0, 2: 0}
    async with grpc.aio.insecure_channel(started.registry.address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 5)


async def test_it_says_when_it_has_caught_up(started: Started) -> None:
    """A partition is ready once clicks bring it close to the end that was heard before; health follows the last one."""
    await started.process.observe_ends({0: 5, 2: 0})
    assert await asyncio.wait_for(started.registry.heard.get(), 5) == {2: 1}
    async with grpc.aio.insecure_channel(started.registry.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await started.process.apply([(clicks(0, 0, "user", ITEMS[:3]), 1)])
        assert await asyncio.wait_for(started.registry.heard.get(), 5) == {0: 1, 2: 1}
        assert (await asyncio.wait_for(watched.read(), 5)).status == health_pb2.HealthCheckResponse.SERVING


async def test_writes_of_another_epoch_are_refused(started: Started) -> None:
    """A caller with an old routing table changes nothing."""
    stale, applied = await started.process.apply(
        [(clicks(0, 0, "user", ITEMS[:3]), 0), (clicks(2, 0, "user", ITEMS[:2]), 1)]
    )
    assert isinstance(stale, StaleEpoch)
    assert applied == 2
    with pytest.raises(StaleEpoch):
        await started.process.skip(0, 0, 9, "test", epoch=0)
    assert await started.process.positions() == {0: 0, 2: 2}


async def test_a_failed_fold_ends_the_process(tmp_path: Path) -> None:
    """The partition was given up, and a process that starts anew restores it; nothing goes on without it."""

    def fail(*_: object) -> None:
        raise MemoryError

    bundle = random_bundle(ModelConfig(), ITEMS)
    bundle.fold = fail  # type: ignore[method-assign]
    process = process_of(tmp_path, FakeRegistry(), ManualClock(), bundle)
    await process.start()
    running = asyncio.create_task(process.run())
    with pytest.raises(MemoryError):
        await process.apply([(clicks(0, 0, "user", ITEMS[:3]), 1)])
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(running, 5)
    assert "shard-0 gave up partitions [0] because folding failed" in str(raised.value.exceptions)
    await process.stop(grace_s=0)


async def test_snapshots_are_taken_on_time(started: Started) -> None:
    """After the interval, what is applied is durable."""
    await started.process.apply([(clicks(0, 0, "user", ITEMS[:3]), 1)])
    assert (await started.process.durable())[0] == 0
    started.clock.advance(11)
    async with asyncio.timeout(5):
        while (await started.process.durable())[0] != 3:
            await asyncio.sleep(0)


async def test_the_next_process_restores_what_a_stop_saved(tmp_path: Path) -> None:
    """Positions and digests go on under the next epoch."""
    registry, clock = FakeRegistry(), ManualClock()
    first = process_of(tmp_path, registry, clock)
    await first.start()
    await first.apply([(clicks(2, 0, "user", ITEMS[:3]), 1)])
    await first.stop(grace_s=0)
    registry.epoch = 2
    second = process_of(tmp_path, registry, clock)
    await second.start()
    assert await second.positions() == {0: 0, 2: 3}
    assert await second.digests() == await first.digests()
    await second.stop(grace_s=0)
