from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from actors.clock import ManualClock
from actors.errors import NotOwner, ShardUnavailable, SnapshotError, StaleEpoch
from actors.shard.roles import Grant, PartitionReport, Role
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.processes import shard_process
from cluster.processes.shard_process import ShardProcess
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from tests.actors.serve.served_shard import ITEMS, clicks
from tests.cluster.processes.coordinated_process import USER, FakeCoordinator, process_of
from tests.waiting import PATIENCE_S, until


@dataclass
class Started:
    """A shard's process and what is around it."""

    process: ShardProcess
    shard: Shard
    coordinator: FakeCoordinator
    clock: ManualClock
    running: asyncio.Task[None]


class GatedSnapshots(SnapshotStore):
    """Snapshots that can be made to wait, and to fail."""

    def __init__(self, root: Path) -> None:
        real = SnapshotStore.from_uri(str(root), kept=2)
        super().__init__(real._filesystem, real._root, 2)
        self.open = threading.Event()
        self.open.set()
        self.restores: list[int] = []
        self.error: Exception | None = None

    def find(self, partition: int):  # type: ignore[no-untyped-def]
        self.restores.append(partition)
        assert self.open.wait(20)
        if self.error is not None:
            raise self.error
        return super().find(partition)


async def start(
    tmp_path: Path, bundle: Bundle | None = None, snapshots: SnapshotStore | None = None
) -> Started:
    """A running process, as soon as it holds what is granted first."""
    coordinator = FakeCoordinator()
    clock = ManualClock()
    process, shard = process_of(tmp_path, coordinator, clock, bundle, snapshots)
    await process.start()
    started = Started(process, shard, coordinator, clock, asyncio.create_task(process.run()))
    await coordinator.until(lambda report: not snapshots or report.incarnation == 7)
    return started


async def stop(started: Started) -> None:
    """End it, as Ray would."""
    started.running.cancel()
    await asyncio.gather(started.running, return_exceptions=True)
    await started.process.stop(grace_s=0)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats follow each other closely."""
    monkeypatch.setattr(shard_process, "HEARTBEAT_S", 0.01)


@pytest.fixture
async def started(tmp_path: Path) -> AsyncIterator[Started]:
    """A running shard process that holds partitions 0 and 2."""
    made = await start(tmp_path)
    await made.coordinator.until(lambda report: report.held.keys() == {0, 2})
    yield made
    await stop(made)


async def test_it_holds_what_the_coordinator_grants(started: Started) -> None:
    """Both partitions start at offset 0, and the address that was registered answers."""
    assert await started.process.positions() == {0: 0, 2: 0}
    assert started.coordinator.report.held[0] == PartitionReport(
        epoch=1, role=Role.OWNER, position=0, caught_up=False
    )
    async with grpc.aio.insecure_channel(started.coordinator.address) as channel:
        await asyncio.wait_for(channel.channel_ready(), PATIENCE_S)


async def test_it_says_when_it_has_caught_up(started: Started) -> None:
    """A partition is ready once clicks bring it close to the end that was heard
    before; health follows the last one.
    """
    await started.process.observe_ends({0: 5, 1: 9, 2: 0})
    report = await started.coordinator.until(lambda report: report.held[2].caught_up)
    assert not report.held[0].caught_up
    async with grpc.aio.insecure_channel(started.coordinator.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await started.process.apply_batches([(clicks(0, 0, "user", ITEMS[:3]), 1)])
        await started.coordinator.until(lambda report: report.held[0].caught_up)
        assert (
            await asyncio.wait_for(watched.read(), PATIENCE_S)
        ).status == health_pb2.HealthCheckResponse.SERVING


async def test_it_follows_every_change(started: Started) -> None:
    """Released, renewed in another role, and taken anew; states of what is renewed go on."""
    await started.process.apply_batches([(clicks(0, 0, "user", ITEMS[:3]), 1)])
    started.coordinator.grants = {0: Grant(4, Role.STANDBY), 3: Grant(2)}
    report = await started.coordinator.until(lambda report: report.held.keys() == {0, 3})
    assert (report.held[0].epoch, report.held[0].role, report.held[0].position) == (
        4,
        Role.STANDBY,
        3,
    )
    assert (await started.process.durable()).keys() == {3}
    assert {partition for partition, _ in await started.process.digests()} == {3}
    started.coordinator.grants = {0: Grant(5), 3: Grant(2)}
    report = await started.coordinator.until(lambda report: report.held[0].epoch == 5)
    assert (report.held[0].role, report.held[0].position) == (Role.OWNER, 3)


async def test_restores_hold_up_no_heartbeat(tmp_path: Path) -> None:
    """While two partitions restore, reports go on, a third waits, and a fourth,
    held already, can be released.
    """
    snapshots = GatedSnapshots(tmp_path)
    made = await start(tmp_path, snapshots=snapshots)
    await made.coordinator.until(lambda report: report.held.keys() == {0, 2})
    snapshots.open.clear()
    snapshots.restores.clear()
    made.coordinator.grants = {2: Grant(1), 4: Grant(1), 5: Grant(1), 6: Grant(1)}
    report = await made.coordinator.until(lambda report: report.held.keys() == {2})
    await until(lambda: len(snapshots.restores) >= 2)
    before = report
    await made.coordinator.until(lambda report: report is not before)
    assert sorted(snapshots.restores) == [4, 5]
    snapshots.open.set()
    await made.coordinator.until(lambda report: report.held.keys() == {2, 4, 5, 6})
    await stop(made)


async def test_a_restore_that_fails_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a second, under the same epoch; the other partitions are served meanwhile."""
    snapshots = GatedSnapshots(tmp_path)
    made = await start(tmp_path, snapshots=snapshots)
    await made.coordinator.until(lambda report: report.held.keys() == {0, 2})
    snapshots.error = SnapshotError("planted")
    made.coordinator.grants |= {4: Grant(1)}
    await until(lambda: "planted; tried again" in caplog.text)
    assert made.coordinator.report.held.keys() == {0, 2}
    snapshots.error = None
    made.clock.advance(1.1)
    report = await made.coordinator.until(lambda report: report.held.keys() == {0, 2, 4})
    assert report.failed == {}
    await stop(made)


async def test_answers_are_stale_without_a_lease(started: Started) -> None:
    """The shard counts from when its heartbeat was sent; the next answer makes them count again."""
    await started.process.observe_ends({0: 0})
    assert not started.shard.read(0, "main", USER).stale
    started.coordinator.error = ShardUnavailable("planted")
    await started.coordinator.until(lambda _: True)
    started.clock.advance(1.1)
    assert started.shard.read(0, "main", USER).stale
    started.coordinator.error = None
    await until(lambda: not started.shard.read(0, "main", USER).stale)


async def test_a_process_that_was_replaced_ends(started: Started) -> None:
    """The coordinator refuses its heartbeats; it must not go on beside its successor."""
    started.coordinator.error = NotOwner("planted")
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(started.running, PATIENCE_S)
    assert "planted" in str(raised.value.exceptions)


async def test_writes_of_another_epoch_are_refused(started: Started) -> None:
    """A caller with an old routing table changes nothing."""
    stale, applied = await started.process.apply_batches(
        [(clicks(0, 0, "user", ITEMS[:3]), 0), (clicks(2, 0, "user", ITEMS[:2]), 1)]
    )
    assert isinstance(stale, StaleEpoch)
    assert applied == 2
    with pytest.raises(StaleEpoch):
        await started.process.skip(0, 0, 9, "test", epoch=0)
    assert await started.process.positions() == {0: 0, 2: 2}


async def test_after_a_failed_fold_the_partition_is_restored_under_a_newer_epoch(
    tmp_path: Path,
) -> None:
    """The shard says that it gave it up,
    does nothing until the coordinator answers, and serves the others.
    """
    bundle = random_bundle(ModelConfig(), ITEMS)
    sound = bundle.fold  # type: ignore[method-assign]
    bundle.fold = fail  # type: ignore[method-assign]
    made = await start(tmp_path, bundle)
    await made.coordinator.until(lambda report: report.held.keys() == {0, 2})
    with pytest.raises(MemoryError):
        await made.process.apply_batches([(clicks(0, 0, "user", ITEMS[:3]), 1)])
    report = await made.coordinator.until(lambda report: bool(report.failed))
    assert (report.failed, report.held.keys()) == ({0: 1}, {2})
    bundle.fold = sound  # type: ignore[method-assign]
    made.coordinator.grants |= {0: Grant(2)}
    made.clock.advance(1.1)
    report = await made.coordinator.until(lambda report: 0 in report.held)
    assert (report.failed, report.held[0].epoch) == ({}, 2)
    await stop(made)


class FullFor(SnapshotStore):
    """Snapshots whose disk is full for partition 0."""

    def seal(self, partition, epoch, arms):  # type: ignore[no-untyped-def]
        if partition == 0:
            raise SnapshotError("no space left on the planted disk")
        return super().seal(partition, epoch, arms)


class CountedExposures:
    """An exposure log that says whether it was closed."""

    closed_within: float | None = None

    def close(self, timeout_s: float) -> None:
        """Remember it."""
        self.closed_within = timeout_s


async def test_a_save_that_fails_at_stop_stops_nothing_else(tmp_path: Path) -> None:
    """Every partition is saved, the exposures are written,
    and only then the error says which save failed.
    """
    real = SnapshotStore.from_uri(str(tmp_path), kept=2)
    made = await start(tmp_path, snapshots=FullFor(real._filesystem, real._root, 2))
    exposures = made.process._exposures = CountedExposures()  # type: ignore[assignment]
    await made.coordinator.until(lambda report: report.held.keys() == {0, 2})
    for partition in (0, 2):
        await made.process.apply_batches([(clicks(partition, 0, "user", ITEMS[:3]), 1)])
    with pytest.raises(
        SnapshotError,
        match=r"shard-0 has stopped, without the snapshot of partition 0 .*planted disk",
    ):
        await stop(made)
    assert made.shard.durable() == {0: 0, 2: 3}
    assert exposures.closed_within == 0


def fail(*_: object) -> None:
    """A kernel that has no memory."""
    raise MemoryError


async def test_answers_are_named_after_the_incarnation(started: Started) -> None:
    """No two processes have the same one, so no two answers have the same name."""
    assert started.process._ids.process == 7


async def test_snapshots_are_taken_on_time(started: Started) -> None:
    """After the interval, what is applied is durable."""
    await started.process.apply_batches([(clicks(0, 0, "user", ITEMS[:3]), 1)])
    assert (await started.process.durable())[0] == 0
    started.clock.advance(11)
    await until(lambda: started.shard.durable()[0] == 3)


async def test_the_next_process_restores_what_a_stop_saved(tmp_path: Path) -> None:
    """Positions and digests go on under the next epoch."""
    first = await start(tmp_path)
    await first.coordinator.until(lambda report: report.held.keys() == {0, 2})
    await first.process.apply_batches([(clicks(2, 0, "user", ITEMS[:3]), 1)])
    await stop(first)
    second = await start(tmp_path)
    second.coordinator.grants = {0: Grant(2), 2: Grant(2)}
    await second.coordinator.until(
        lambda report: [held.epoch for held in report.held.values()] == [2, 2]
    )
    assert await second.process.positions() == {0: 0, 2: 3}
    assert await second.process.digests() == await first.process.digests()
    await stop(second)
