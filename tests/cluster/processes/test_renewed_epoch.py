"""A reader and the shard that it feeds hear of a newer epoch at different times."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from actors.clicks.codec import Decoder
from actors.clicks.formats import EventFormat
from actors.clock import ManualClock
from actors.errors import ShardUnavailable
from actors.ingest.ingest import Ingest, IngestSettings
from actors.shard.roles import Feed
from actors.shard.shard import Shard
from actors.snapshots.store import SnapshotStore
from cluster.coordinator.routing import Replica, Route, RoutingTable
from cluster.processes.remote import RemoteShards
from cluster.processes.shard_process import ShardProcess
from monitoring.metrics import Metrics
from tests.actors.ingest.ingest_fakes import FakeLog, good
from tests.cluster.processes.coordinated_process import USER, FakeCoordinator, process_of
from tests.cluster.processes.fake_ray import FakeRay


class Rig:
    """A quiet partition of three clicks, its shard, and its reader,
    which is told of epochs by hand.
    """

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.process: ShardProcess
        self.shard: Shard
        self.process, self.shard = process_of(directory, FakeCoordinator(), self.clock)
        methods = {each.__qualname__: each for each in self.process.methods()}
        self.shards = RemoteShards(FakeRay(lambda _, method, *args: methods[method](*args)))
        log = FakeLog({0: [good(0), good(1), good(2)]})
        decoder = Decoder(EventFormat(), self.clock)
        metrics = Metrics(CollectorRegistry())
        self.ingest = Ingest(
            log, None, decoder, self.shards, metrics, self.clock, IngestSettings(commits=False)
        )

    def read_under(self, epoch: int) -> None:
        """What a new routing table tells the reader."""
        owner = Replica(shard="shard-0", epoch=epoch, incarnation=1, address="h:1")
        self.shards.follow(RoutingTable(version=epoch, routes=(Route(owner=owner),)))
        self.ingest.assign({0: epoch})

    async def rounds(self, count: int = 20) -> dict[int, int]:
        """Where the shard is after so many rounds of the reader."""
        for _ in range(count):
            await self.ingest.run_once()
            self.clock.advance(1.0)
        return self.shard.positions()


async def test_a_partition_given_up_between_two_epochs_is_read_again(tmp_path: Path) -> None:
    """The reader asks under the new epoch first; then the shard loses its states,
    and restores under that epoch.

    Without a new click nobody would tell the reader that its shard is far behind what it said.
    """
    rig = Rig(tmp_path)
    rig.shard.hold(0, 1)
    rig.read_under(1)
    assert await rig.rounds() == {0: 3}
    rig.read_under(2)
    assert await rig.rounds() == {0: 3}
    # by another owner meanwhile
    SnapshotStore.from_uri(str(tmp_path), kept=2).tombstones.write(0, USER, 2)
    with pytest.raises(ShardUnavailable, match="given up and restored"):
        rig.shard.hold(0, 2)
    assert rig.shard.hold(0, 2) == 0
    assert await rig.rounds() == {0: 3}


async def test_a_shard_says_where_to_go_on_only_under_the_epoch_asked_for(tmp_path: Path) -> None:
    """Not under an older one, nor under a newer one, whose reader is another."""
    rig = Rig(tmp_path)
    rig.shard.hold(0, 5)
    answers = [
        await rig.process.next_offsets(Feed.FRONT, {0: epoch, 1: epoch}) for epoch in (4, 5, 6)
    ]
    assert answers == [{}, {0: 0}, {}]
