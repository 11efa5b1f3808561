"""The process of a shard, and a coordinator that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from actors.calls.admission import Bounds
from actors.calls.interceptor import RequestInterceptor
from actors.calls.server import RpcServer
from actors.clock import ManualClock
from actors.shard.roles import Assignment, Grant, Report
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.processes.shard_process import ShardProcess
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.network.export import random_bundle
from monitoring.discovery import Target
from monitoring.metrics import Metrics
from tests.actors.serve.served_shard import ITEMS
from tests.waiting import PATIENCE_S

TARGET = Target(kind="shard", name="shard-0", address="127.0.0.1:9")
USER = 12345


@dataclass
class FakeCoordinator:
    """Grants what a test says, and remembers the last report."""

    grants: dict[int, Grant] = field(default_factory=lambda: {0: Grant(1), 2: Grant(1)})
    address: str = ""
    report: Report = field(default_factory=lambda: Report(incarnation=0))
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    async def register(self, shard: str, address: str, target: Target, node: str) -> int:
        """Incarnation 7."""
        assert (shard, target) == ("shard-0", TARGET)
        self.address = address
        return 7

    async def heartbeat(self, shard: str, report: Report) -> Assignment:
        """The grants of now."""
        assert (shard, report.incarnation) == ("shard-0", 7)
        self.report = report
        self.heard.set()
        if self.error is not None:
            raise self.error
        return Assignment(lease_s=1.0, grants=dict(self.grants))

    async def until(self, condition: Callable[[Report], bool]) -> Report:
        """The first report for which the condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self.report):
                self.heard.clear()
                await self.heard.wait()
        return self.report


def process_of(
    directory: Path,
    coordinator: FakeCoordinator,
    clock: ManualClock,
    bundle: Bundle | None = None,
    snapshots: SnapshotStore | None = None,
) -> tuple[ShardProcess, Shard]:
    """A process that restores from `directory`."""
    metrics = Metrics(CollectorRegistry())
    shard = Shard(
        "shard-0",
        {"main": bundle or random_bundle(ModelConfig(), ITEMS)},
        snapshots or SnapshotStore.from_uri(str(directory), kept=2),
        metrics,
        clock,
        ShardSettings(ready_lag_records_max=2, users_initial=16),
    )
    server = RpcServer(lambda _: None, RequestInterceptor(metrics, Bounds(queue_max=8)), 65_536)
    process = ShardProcess(
        shard=shard,
        server=server,
        host="127.0.0.1",
        node="n",
        coordinator=coordinator,
        target=TARGET,
        clock=clock,
    )
    return process, shard
