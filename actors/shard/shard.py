"""The holder of some partitions: folds their clicks into every arm,
answers reads, saves and restores.

A plain class; the Ray actor around it only forwards. Locks, in the order in which they are taken:
`Shard._holding` (who holds what; never during a restore), the snapshotter's (one partition at a
time), `HeldPartition.writer` (one writer a partition, for a whole batch), the store's own (one
slice of a batch, or one read). Reads take only the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from actors.clicks.click import ClickBatch
from actors.clock import Clock
from actors.errors import ConfigError, NotOwner, SnapshotError
from actors.locks import THREADS, Locks
from actors.shard.allowance import SnapshotAllowance
from actors.shard.erasure import ErasedStates, Eraser
from actors.shard.folding import Folding
from actors.shard.held import Fingerprint, HeldPartition, PartitionStats, StateRead
from actors.shard.reading import StateReader
from actors.shard.roles import Feed, Grant, PartitionReport, Role
from actors.shard.settings import ShardSettings
from actors.shard.snapshotter import Snapshotter
from actors.snapshots.store import Deleted, SnapshotStore
from actors.state import gauges as state_gauges
from actors.state.cold import ColdDirectory
from actors.state.maker import OpenCold, StoreMaker
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

OnApplied = Callable[[int, int], None]


class Shard:
    """Holds partitions by epoch, each as owner or as standby; the only writer of their states.

    Both fold alike; only an owner takes snapshots, and only an owner within its lease gives answers
    that are not stale.

    Raises:
        ConfigError: there is no arm, or a user of one would take more bytes than
            `settings.bytes_per_user_max`.
    """

    def __init__(
        self,
        shard_id: str,
        arms: Mapping[str, Bundle],
        snapshots: SnapshotStore,
        metrics: Metrics,
        clock: Clock,
        settings: ShardSettings,
        locks: Locks = THREADS,
        open_cold: OpenCold = ColdDirectory,
    ) -> None:
        if not arms:
            raise ConfigError(
                "a shard needs at least one arm to fold clicks into; name one under arms"
            )
        self.shard_id = shard_id
        self._arms = dict(arms)
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        allowance = SnapshotAllowance(settings.snapshot_interval_s, settings.snapshot_share_max)
        self._snapshotter = Snapshotter(snapshots, metrics, clock, allowance, locks)
        self._folding = Folding(arms, metrics, clock, self._snapshotter.forecast, self._give_up)
        self._reader = StateReader(self._arms, clock, settings)
        self._eraser = Eraser(snapshots.tombstones, self._give_up)
        self._held: dict[int, HeldPartition] = {}
        self._locks = locks
        self._holding = locks.plain()
        self._on_applied: list[OnApplied] = []
        self._new_store = StoreMaker(
            shard_id,
            users_initial=settings.users_initial,
            bytes_per_user_max=settings.bytes_per_user_max,
            tiers=settings.tiers,
            twins_one_in=settings.twins_one_in,
            metrics=metrics,
            clock=clock,
            open_cold=open_cold,
            locks=locks,
            slice_events=settings.slice_events,
            piece_rows=settings.piece_rows,
        )
        for arm, bundle in self._arms.items():
            self._export(arm, self._new_store(bundle).bytes_per_user)

    def hold(self, partition: int, epoch: int, role: Role = Role.OWNER) -> int:
        """Take the partition under `epoch` and restore its newest valid
        snapshot; the front's next offset.

        A partition that is held already keeps its states and gets the new epoch and role, also
        while it restores.

        Raises:
            StaleEpoch: it is held under this epoch or a newer one.
            NotOwner: it was released while it restored.
            ShardUnavailable: it was held, but has to be restored, because a user was erased behind
                its back.
            SnapshotError: the snapshot directory cannot be read.
        """
        if held := self._held.get(partition):
            self._eraser.learn(held)
        with self._holding:
            if held := self._held.get(partition):
                return held.renew(Grant(epoch, role), self._clock.monotonic())
            now_s = self._clock.monotonic()
            held = HeldPartition(
                partition,
                Grant(epoch, role),
                attempted_s=now_s,
                saved_s=now_s,
                traffic=self._settings.traffic,
                apart=self._settings.arms_apart_records,
                writer=self._locks.plain(),
            )
            self._held[partition] = held
        try:
            self._snapshotter.restore(held, self._arms, self._new_store)
        except BaseException:
            with self._holding, held.writer:
                self._give_up(held)
            raise
        return held.front

    def lease(self, until_s: float, grants: Mapping[int, Grant]) -> None:
        """Answers of partitions that are granted to an owner may count until
        then, in the clock's monotonic time; all others are stale, until a new lease.
        """
        self._reader.lease(until_s, grants)

    def release(self, partition: int) -> None:
        """Give the partition up after the batch in progress,
        without a snapshot; nothing if it is not held.
        """
        with self._holding:
            if held := self._held.get(partition):
                with held.writer:
                    self._give_up(held)

    def owned(self) -> dict[int, int]:
        """The epoch of each partition that is held as owner."""
        return {held.partition: held.epoch for held in self._all() if held.role is Role.OWNER}

    def grants(self) -> dict[int, Grant]:
        """Epoch and role of each held partition, restored or not."""
        return {held.partition: held.grant for held in self._all()}

    def reports(self) -> dict[int, PartitionReport]:
        """Each restored partition, for heartbeats."""
        lag_max = self._settings.ready_lag_records_max
        now_s = self._clock.monotonic()
        return {
            held.partition: held.report(lag_max, now_s)
            for held in self._all()
            if held.stores is not None
        }

    def positions(self) -> dict[int, int]:
        """The next offset of each restored partition: the least of its arms',
        as some arm needs what lies above.
        """
        return {held.partition: held.position for held in self._all() if held.stores is not None}

    def next_offsets(self, feed: Feed = Feed.FRONT) -> dict[int, int]:
        """Where a reader goes on, for each restored partition."""
        return {
            held.partition: held.next_offset(feed)
            for held in self._all()
            if held.stores is not None
        }

    def position(self, partition: int, arm: str | None = None) -> int:
        """The next offset of an arm, or the least of all; 0 while restoring,
        NotOwner if it is not held (any more).
        """
        held = self._get(partition)
        return held.position if arm is None or held.stores is None else held.stores[arm].position

    def durable(self) -> dict[int, int]:
        """Of each restored partition that is owned,
        the offset up to which every arm is in a snapshot.
        """
        return {
            held.partition: held.durable
            for held in self._all()
            if held.stores is not None and held.role is Role.OWNER
        }

    def on_applied(self, callback: OnApplied) -> None:
        """Call `callback(partition, position)` after each batch, in the applying thread."""
        self._on_applied.append(callback)

    def apply(self, batch: ClickBatch, epoch: int, feed: Feed = Feed.FRONT) -> int:
        """Fold the batch into every arm that goes on at its start or
        beyond; where the reader goes on.

        Raises:
            NotOwner, ShardUnavailable, StaleEpoch: not held, still restoring, or held under
                another epoch.
            OffsetGap: the batch starts beyond where the reader is to go on.
        """
        held = self._get(batch.partition)
        position = self._folding.fold(held, batch, epoch, feed)
        self._notify(batch.partition, position)
        return position

    def skip(
        self,
        partition: int,
        start: int,
        stop: int,
        reason: str,
        epoch: int,
        feed: Feed = Feed.FRONT,
    ) -> int:
        """Move over the offsets [start, stop),
        which the log does not hold any more; where the reader goes on.

        Raises:
            NotOwner, ShardUnavailable, StaleEpoch, OffsetGap: as for `apply`.
        """
        held = self._get(partition)
        position = self._folding.skip(held, start, stop, reason, epoch, feed)
        self._notify(partition, position)
        return position

    def observe_end(self, partition: int, end: int) -> None:
        """Learn the partition's high watermark: it decides what is ready and what is stale."""
        self._get(partition).observe_end(
            end, self._settings.ready_lag_records_max, self._clock.monotonic()
        )

    def ready(self, partition: int) -> bool:
        """Whether the partition came within `ready_lag_records_max` of
        its end since it was held.
        """
        held = self._held.get(partition)
        return held is not None and held.ready

    def read(self, partition: int, arm: str, user_key: int) -> StateRead:
        """The user's state; while the partition restores, an empty and stale one.

        Raises:
            NotOwner: the partition is not this shard's.
            InvalidRequest: no arm has that name.
        """
        return self._reader.read(self._get(partition), arm, user_key)

    def snapshot_due(self, now_s: float) -> list[int]:
        """The partitions that are to be saved at `now_s`, the clock's monotonic time."""
        return [held.partition for held in self._all() if self._snapshotter.is_due(held, now_s)]

    def snapshot(self, partition: int) -> int:
        """Save the partition unless nothing is new; the offset that snapshots cover.
        Reads never wait, folding briefly.

        Raises:
            NotOwner, ShardUnavailable: not owned, or still restoring.
            SnapshotError: it could not be written; the shard goes on, and it is due again after the
                interval.
        """
        return self._snapshotter.save(self._get(partition))

    def forget_older(self, partition: int) -> list[Deleted]:
        """Save all rows as they are now and delete every other file of a
        snapshot of the partition; which ones.

        Raises:
            NotOwner, ShardUnavailable: not owned, or still restoring.
            SnapshotError: something failed; the newest snapshot is complete, and doing it again
                goes on from there.
        """
        return self._snapshotter.forget_older(self._get(partition))

    def erase(self, partition: int, user_key: int, until: int, epoch: int) -> ErasedStates:
        """Forget the user in every arm, and every click of theirs below `until`,
        for ever; an owner may go higher.

        Snapshots keep the user until `forget_older`. Doing it again removes what came since.

        Raises:
            NotOwner, ShardUnavailable, StaleEpoch: not held, still restoring, or held under another
                epoch.
            TombstoneTooLow: this is a standby beyond `until`; nothing was done.
            SnapshotError, ColdTierError: the disk fails; the user may be gone or not, so do it
                again.
        """
        held = self._get(partition)
        with held.writer:
            return self._eraser.erase(held, held.writable(epoch), user_key, until)

    def remembers(self, partition: int, user_key: int) -> bool:
        """Whether anything of the partition may still name the user: a state,
        a tombstone, a snapshot of another model.

        Raises:
            NotOwner, ShardUnavailable: not held, or still restoring.
            SnapshotError: the snapshots cannot be listed.
        """
        held = self._get(partition)
        return held.knows(user_key) or self._snapshotter.keeps_others(held)

    def snapshot_all_due(self) -> list[SnapshotError]:
        """Save what is due; failures are logged, counted, returned,
        and tried again after the interval.
        """
        return self._snapshotter.save_due(self._all())

    def evict_idle(self) -> None:
        """Move users who were idle for long to the cold tier;
        folding waits for one transaction at a time.

        Where the disk is full they stay, and it is tried again later.
        """
        if (tiers := self._settings.tiers) is None or tiers.idle_s is None:
            return
        for held in self._all():
            while held.evict_idle(tiers.idle_s):
                pass

    def digest(self, partition: int, arm: str) -> str:
        """The digest of an arm's states and position;
        pauses the partition's writer, not its readers.
        """
        held = self._get(partition)
        with held.writer:
            return held.restored()[arm].digest()

    def fingerprints(self, partition: int) -> dict[str, Fingerprint]:
        """Position and digest of each arm, all as of one moment;
        pauses the partition's writer, not its readers.
        """
        held = self._get(partition)
        with held.writer:
            return {
                arm: Fingerprint(store.position, store.digest())
                for arm, store in held.restored().items()
            }

    def stats(self) -> list[PartitionStats]:
        """Every held partition."""
        return [held.stats() for held in self._all()]

    def _all(self) -> list[HeldPartition]:
        return sorted(self._held.copy().values(), key=lambda held: held.partition)

    def _get(self, partition: int) -> HeldPartition:
        if held := self._held.get(partition):
            return held
        raise NotOwner(
            f"shard {self.shard_id} does not own partition {partition} but "
            f"{sorted(self._held.copy())}; ask for the routing table again"
        )

    def _give_up(self, held: HeldPartition) -> None:
        """Let go of the partition, for who holds its writer;
        a release may have waited while a fold failed.
        """
        if not held.closed:
            held.closed = True
            del self._held[held.partition]
            if held.stores is not None:
                self._snapshotter.forget(held.partition, held.stores)
            self._notify(held.partition, 0)  # who waits for an offset asks elsewhere

    def _notify(self, partition: int, position: int) -> None:
        for callback in self._on_applied:
            callback(partition, position)

    def _export(self, arm: str, bytes_per_user: int) -> None:
        def stores() -> list[PartitionStore]:
            return [held.stores[arm] for held in self._all() if held.stores is not None]

        state_gauges.export(self._metrics, arm, bytes_per_user, stores)
