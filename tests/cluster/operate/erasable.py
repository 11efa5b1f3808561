"""A deployment in one process for erasures to go through: two shards,
snapshots and an archive on one disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry

from actors.archive import erasure as archive_erasure
from actors.archive.erasure import ErasedRows
from actors.archive.files import ArchiveFiles
from actors.archive.parquet import Place
from actors.archive.reader import ArchiveReader
from actors.clicks.click import ClickBatch, key
from actors.clock import ManualClock
from actors.serve.limits import RequestLimits
from actors.shard.erasure import ErasedStates
from actors.shard.settings import ShardSettings
from actors.shard.shard import Shard
from actors.snapshots.store import Deleted, SnapshotStore
from actors.state.maker import TierSettings
from cluster.coordinator.routing import Replica, Route
from cluster.operate.erasure import Erasure
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics
from rpc import echorank_pb2 as pb
from tests.actors.archived_clicks import START_MS, table, user
from tests.actors.click_log import bundle
from tests.actors.faulty_fs import Disk, FaultyFiles

USER = user(3)  # clicks at every seventh offset
KEY = key(USER)
ARMS = {"main": bundle(), "other": bundle(1)}
STOP = 60  # the first clicks; later ones come after an erasure
LATER = 90
REMAINS = [pb.ErasedPlace(place="kafka/clicks", note="7 days")]

Step = Callable[[str, str], None]


def clicks(start: int, stop: int) -> ClickBatch:
    """The log's clicks: those of seven users in turn."""
    columns = table(range(start, stop)).to_pydict()
    return ClickBatch(
        partition=0,
        start=start,
        stop=stop,
        offsets=np.array(columns["offset"], dtype=np.int64),
        users=np.array([key(name) for name in columns["user"]], dtype=np.uint64),
        items=np.array([key(name) for name in columns["item"]], dtype=np.uint64),
        actions=np.array([key(name) for name in columns["action"]], dtype=np.uint64),
        times_ms=np.array(columns["time_ms"], dtype=np.int64),
        record_ms=np.array(columns["record_ms"], dtype=np.int64),
    )


class Deployment:
    """Partition 0 at two shards. `on_step(step,
    shard)` hears of each call of the erasure before it is made.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        crash_at: int | None = None,
        epoch: int = 1,
        tiers: TierSettings | None = None,
        partitions: int = 1,
    ):
        self.partitions = partitions  # those beyond 0 have no clicks
        self.files = FaultyFiles(disk, crash_at=crash_at)
        self.clock = ManualClock()
        self.snapshots = SnapshotStore(self.files.filesystem(), "state", kept=3)
        self.archive = ArchiveFiles(self.files.filesystem(), "archive", f"writer-{epoch}")
        self.shards = {name: self.shard_of(name, ARMS, tiers) for name in ("shard-0", "shard-1")}
        self.epoch = epoch - 1
        self.route = Route(owner=self._replica("shard-0"), standby=self._replica("shard-1"))
        self.end = STOP
        self.on_step: Step = lambda step, shard: None
        self.erasure = Erasure(
            partitions=partitions,
            limits=RequestLimits(),
            replicas=_Ports(self),
            archive=_Archive(self),
            log_end=self._log_end,
            remains=self._remains,
            clock=self.clock,
        )

    def hold(self) -> Deployment:
        """Let the shards take what the route says."""
        for role, replica in self.route.replicas():
            for partition in range(self.partitions):
                if self.shards[replica.shard].grants().get(partition) != (replica.epoch, role):
                    self.shards[replica.shard].hold(partition, replica.epoch, role)
        return self

    def fold(self, stop: int) -> Deployment:
        """Fold everything below `stop` at both shards."""
        for _, replica in self.route.replicas():
            self.fold_at(replica.shard, stop)
        self.end = max(self.end, stop)
        return self

    def fold_at(self, shard: str, stop: int) -> None:
        """Fold everything below `stop` at one shard."""
        held = self.shards[shard]
        held.apply(clicks(held.position(0), stop), held.grants()[0].epoch)

    def snapshot(self) -> Deployment:
        """Let the owner save what is new."""
        self.shards[self.route.owner.shard].snapshot(0)
        return self

    def archived(self, stop: int) -> Deployment:
        """Archive everything below `stop`, in files of twenty clicks."""
        for start in range(self.archive.end(0) or 0, stop, 20):
            place = Place(0, start, min(start + 20, stop))
            self.archive.write(
                place, table(range(start, place.stop)), date_ms=START_MS, after=self.archive.end(0)
            )
        return self

    def hand_over(self) -> None:
        """The standby becomes owner, the owner standby,
        both under newer epochs; nobody has told them.
        """
        assert self.route.standby is not None
        owner = self.route.standby.shard
        standby = self.route.owner.shard
        self.route = Route(owner=self._replica(owner), standby=self._replica(standby))

    def grant_anew(self) -> None:
        """Both keep their roles under newer epochs; nobody has told them."""
        assert self.route.standby is not None
        self.route = Route(
            owner=self._replica(self.route.owner.shard),
            standby=self._replica(self.route.standby.shard),
        )

    def digests(self) -> list[tuple[str, str]]:
        """Of both arms, at the owner and at the standby."""
        return [
            tuple(self.shards[each.shard].digest(0, arm) for arm in ARMS)
            for _, each in self.route.replicas()
        ]  # type: ignore[misc]

    def rows(self, name: str) -> list[bytes | None]:
        """The states of a user: both arms at the owner, then at the standby."""
        found = (
            self.shards[each.shard].read(0, arm, key(name)).row
            for _, each in self.route.replicas()
            for arm in ARMS
        )
        return [None if row is None else row.tobytes() for row in found]

    async def _log_end(self, partition: int) -> int:
        return self.end if partition == 0 else 0

    async def _remains(self) -> Sequence[pb.ErasedPlace]:
        return REMAINS

    def _replica(self, shard: str) -> Replica:
        self.epoch += 1
        return Replica(
            shard=shard, epoch=self.epoch, incarnation=1, address="127.0.0.1:1", ready=True
        )

    def shard_of(
        self, name: str, arms: Mapping[str, Bundle], tiers: TierSettings | None = None
    ) -> Shard:
        """A shard that holds nothing yet."""
        settings = ShardSettings(users_initial=4, tiers=tiers)
        return Shard(name, arms, self.snapshots, Metrics(CollectorRegistry()), self.clock, settings)


class _Ports:
    """What the erasure is given."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def route(self, partition: int) -> Route:
        self._deployment.on_step("route", "")
        return self._deployment.route

    async def erase(
        self, shard: str, partition: int, user_key: int, until: int, epoch: int
    ) -> ErasedStates:
        self._deployment.on_step("erase", shard)
        return self._deployment.shards[shard].erase(partition, user_key, until, epoch)

    async def remembers(self, shard: str, partition: int, user_key: int) -> bool:
        self._deployment.on_step("remembers", shard)
        return self._deployment.shards[shard].remembers(partition, user_key)

    async def forget_older(self, shard: str, partition: int) -> list[Deleted]:
        self._deployment.on_step("forget_older", shard)
        return self._deployment.shards[shard].forget_older(partition)


class _Archive:
    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def erase(self, partition: int, user_key: int, until: int) -> list[ErasedRows]:
        self._deployment.on_step("archive", "")
        return archive_erasure.erase(self._deployment.archive, partition, user_key, until)


def running(disk: Disk, **options: object) -> Deployment:
    """A deployment with states, several snapshots and an archive."""
    deployment = Deployment(disk, **options).hold()  # type: ignore[arg-type]
    for stop in (20, 40, 50):
        deployment.fold(stop).snapshot()
    return deployment.fold(STOP).archived(STOP)


def erase(deployment: Deployment, name: str = USER) -> pb.EraseReceipt:
    """The receipt."""
    return asyncio.run(deployment.erasure.erase(name))


def removed(receipt: pb.EraseReceipt, start: str) -> list[int]:
    """What was removed at places that begin so."""
    return [place.removed for place in receipt.places if place.place.startswith(start)]


def archived(disk: Disk) -> list[tuple[int, int]]:
    """Offset and user of every click in the archive."""
    pieces = ArchiveReader(Deployment(disk).archive).read(0, 0, 10_000)
    batches = [piece for piece in pieces if isinstance(piece, ClickBatch)]
    return [
        (int(at), int(who))
        for one in batches
        for at, who in zip(one.offsets, one.users, strict=True)
    ]


def traces(disk: Disk, rows: list[bytes | None]) -> list[str]:
    """The files that hold the user's id, the key as a snapshot has it, or one of these states."""
    wanted = [USER.encode(), KEY.to_bytes(8, "little"), *filter(None, rows)]
    return [
        path
        for path, content in disk.files.items()
        if any(each in content for each in wanted)
        or (
            path.endswith(".parquet")
            and any(who == KEY and at < STOP for at, who in archived(disk))
        )
    ]


def replayed(disk: Disk, stop: int) -> tuple[str, ...]:
    """Both arms' digests, folded from offset 0 by a shard that finds nothing but the tombstones."""
    bare = Disk()
    bare.files = {path: content for path, content in disk.files.items() if "/tombstone-" in path}
    bare.directories = set(disk.directories)
    fresh = Deployment(bare)
    fresh.shards["shard-0"].hold(0, 1)
    fresh.fold_at("shard-0", stop)
    return tuple(fresh.shards["shard-0"].digest(0, arm) for arm in ARMS)


def check_gone(disk: Disk, deployment: Deployment, rows: list[bytes | None]) -> None:
    """No file knows the user; later clicks make a new one; owner, standby and a replay agree."""
    assert traces(disk, rows) == []
    assert deployment.rows(USER) == [None] * 4
    deployment.fold(LATER)
    assert all(deployment.rows(USER))
    owner, standby = deployment.digests()
    assert owner == standby == replayed(disk, LATER)
