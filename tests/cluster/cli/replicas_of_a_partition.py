"""The replicas of a partition, and the Admin service before them, without the rest of a system."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from actors.archive.reader import ArchiveReader
from actors.calls.admission import Bounds
from actors.calls.interceptor import ADMIN, RequestInterceptor
from actors.calls.server import RpcServer
from actors.clicks.click import ClickBatch
from actors.clock import ManualClock
from actors.shard.held import Fingerprint
from actors.shard.roles import Role
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.operate.admin import Admin
from monitoring.metrics import Metrics
from tests.actors.archived_clicks import archive
from tests.actors.click_log import bundle


class Shards:
    """Partition 0 of a running system: an owner that saves snapshots, and a standby."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.on_snapshot: Callable[[], None] = lambda: None
        names = {"shard-0": Role.OWNER, "shard-1": Role.STANDBY}
        self.shards = {
            name: self._shard(name, epoch, role)
            for epoch, (name, role) in enumerate(names.items(), 1)
        }

    def _shard(self, name: str, epoch: int, role: Role) -> Shard:
        snapshots = SnapshotStore.from_uri(str(self.root / "state"), kept=3)
        metrics = Metrics(CollectorRegistry())
        shard = Shard(
            name,
            {"main": bundle()},
            snapshots,
            metrics,
            ManualClock(),
            ShardSettings(users_initial=4),
        )
        shard.hold(0, epoch, role)
        return shard

    def fold(self, stop: int, *names: str) -> None:
        """Fold the archive's clicks below `stop`, at these shards or at both."""
        for name in names or self.shards:
            shard = self.shards[name]
            for piece in ArchiveReader(archive(self.root / "archive")).read(
                0, shard.position(0), stop
            ):
                assert isinstance(piece, ClickBatch)
                shard.apply(piece, shard.grants()[0].epoch)

    async def snapshot(self, shard: str, partitions: Sequence[int]) -> dict[int, int]:
        """As an owner does; more clicks may have come by then."""
        self.on_snapshot()
        return {partition: self.shards[shard].snapshot(partition) for partition in partitions}

    async def fingerprints(self, shard: str, partition: int) -> dict[str, Fingerprint]:
        """As every replica does."""
        return self.shards[shard].fingerprints(partition)


@contextmanager
def running(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's Admin service, on the port of the configuration, over real gRPC."""
    owner, standby = (
        Replica(shard=name, epoch=epoch) for epoch, name in enumerate(shards.shards, 1)
    )
    table = RoutingTable(version=1, routes=(Route(owner=owner, standby=standby),))
    ports: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    started = threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        admin = Admin(
            coordinator=None, replicas=shards, table=lambda: table, erase=None, token="open-sesame"
        )  # type: ignore[arg-type]
        interceptor = RequestInterceptor(Metrics(CollectorRegistry()), Bounds(queue_max=0))
        server = RpcServer(admin.add_to, interceptor, 65_536, (ADMIN,))
        ports.append(int((await server.start("127.0.0.1", 0)).rsplit(":", 1)[1]))
        loops.append(asyncio.get_running_loop())
        started.set()
        await ended.wait()
        await server.stop(grace_s=0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(20)
    monkeypatch.setenv("ECHORANK__SERVING__PORT", str(ports[0]))
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(20)
