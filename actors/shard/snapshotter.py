"""When and how an owned partition is saved and restored."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from functools import partial

from prometheus_client import Gauge

from actors.clock import Clock
from actors.errors import NotOwner, SnapshotError
from actors.locks import Locks
from actors.shard.allowance import SnapshotAllowance
from actors.shard.forecast import RecoveryForecast
from actors.shard.held import HeldPartition
from actors.shard.roles import Role
from actors.snapshots.manifest import Chain
from actors.snapshots.restore import NewStore, restore
from actors.snapshots.state_file import SnapshotDamaged
from actors.snapshots.store import Deleted, SnapshotStore
from actors.state.store import PartitionStore
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)

DELTAS_MAX = 16  # files that a restore reads besides the base


class Snapshotter:
    """Restores partitions, and saves one at a time, one arm after the other, while folding goes on.

    An arm's first file under an epoch has all rows, the next ones those that changed, until so many
    have that a new start is cheaper to read. So no chain reaches into another epoch's files, which
    their owner may retire. As arms are taken one by one, each has its own position.
    """

    def __init__(
        self,
        snapshots: SnapshotStore,
        metrics: Metrics,
        clock: Clock,
        allowance: SnapshotAllowance,
        locks: Locks,
    ) -> None:
        self._snapshots = snapshots
        self._metrics = metrics
        self._clock = clock
        self._allowance = allowance
        self.forecast = RecoveryForecast()
        self._one_at_a_time = locks.plain()

    def restore(self, held: HeldPartition, arms: Mapping[str, Bundle], new_store: NewStore) -> None:
        """Give the partition its stores, from the newest sound snapshot of each arm.

        Raises:
            SnapshotError: as `actors.snapshots.restore.restore`.
            NotOwner: the partition was given up meanwhile.
        """
        started_s = self._clock.monotonic()
        restored = restore(held.partition, arms, self._snapshots, new_store, self._report)
        with held.writer:
            held.check_open()
            held.size_bytes = sum(chain.size_bytes for _, chain in restored.values() if chain)
            held.saved = {arm: store.position for arm, (store, _) in restored.items()}
            held.stores = {arm: store for arm, (store, _) in restored.items()}
            held.line_up()
            self._export(held)
        took_s = self._clock.monotonic() - started_s
        self._metrics.restore_seconds.observe(took_s)
        self.forecast.restored(held.size_bytes, took_s)

    def is_due(self, held: HeldPartition, now_s: float) -> bool:
        """Whether a partition that is owned and restored is to be saved now."""
        can = held.role is Role.OWNER and held.stores is not None
        return can and self._allowance.is_due(held.attempted_s, now_s)

    def save_due(self, partitions: Iterable[HeldPartition]) -> list[SnapshotError]:
        """Save those that are due, the longest waiting first;
        failures are logged, counted, and returned.
        """
        failures = []
        for held in sorted(partitions, key=lambda each: each.attempted_s):
            started_s = self._clock.monotonic()
            spent_s = self._clock.processor()
            if not self.is_due(held, started_s):
                continue
            try:
                self.save(held)
            except NotOwner:
                continue  # given up meanwhile, and its new owner's business
            except SnapshotError as error:
                log.error(
                    "partition %d: no snapshot this time, next try in an interval: %s",
                    held.partition,
                    error,
                )
                failures.append(error)
            finally:
                self._allowance.spend(started_s, self._clock.processor() - spent_s)
        return failures

    def save(self, held: HeldPartition) -> int:
        """Save the partition unless its newest state is saved already;
        the offset that snapshots now cover.

        Raises:
            NotOwner: it is not owned, or changed hands while this waited its turn or was under way.
            SnapshotError: it could not be written; counted, and due again after the interval.
        """
        with self._one_at_a_time:
            epoch = _owner_epoch(held)
            started_s = held.attempted_s = self._clock.monotonic()
            if any(store.position > held.saved[arm] for arm, store in held.restored().items()):
                self._save(held, epoch, full=False)
                self._retire(held, epoch)
            held.saved_s = started_s
            return held.durable

    def forget_older(self, held: HeldPartition) -> list[Deleted]:
        """Save all rows as they are now and delete every other file of a
        snapshot of the partition; which ones.

        Raises:
            NotOwner: as for `save`.
            SnapshotError: something failed; the newest snapshot is complete, and doing it again
                goes on from there.
        """
        with self._one_at_a_time:
            epoch = _owner_epoch(held)
            started_s = held.attempted_s = self._clock.monotonic()
            self._save(held, epoch, full=True)
            held.saved_s = started_s
            return self._snapshots.forget_older(held.partition, epoch)

    def keeps_others(self, held: HeldPartition) -> bool:
        """Whether a snapshot may hold states of other arms or models;
        SnapshotError if none can be listed.
        """
        found = self._snapshots.find(held.partition)
        models = {a: s.bundle.version for a, s in held.restored().items()}
        kept = {
            (arm, chain.model)
            for manifest in found.manifests
            for arm, chain in manifest.arms.items()
        }
        return bool(found.damaged) or not kept <= set(models.items())

    def forget(self, partition: int, arms: Iterable[str]) -> None:
        """Export nothing of the partition any more."""
        for gauge in self._gauges():
            gauge.remove(str(partition))
        for arm in arms:
            self._metrics.arm_lag_records.remove(str(partition), arm)

    def _save(self, held: HeldPartition, epoch: int, full: bool) -> None:
        started_s = self._clock.monotonic()
        if held.chains_epoch != epoch:
            held.chains = {}
            held.chains_epoch = epoch
        try:
            for arm, store in held.restored().items():
                held.chains[arm] = self._extend(held, epoch, arm, store, full)
            with held.writer:
                held.check_owned(epoch)
            self._snapshots.seal(held.partition, epoch, held.chains)
        except SnapshotError:
            self._metrics.snapshot_failures_total.labels("write").inc()
            raise
        held.saved = {arm: chain.position for arm, chain in held.chains.items()}
        held.size_bytes = sum(chain.size_bytes for chain in held.chains.values())
        self._metrics.snapshot_seconds.observe(self._clock.monotonic() - started_s)

    def _extend(
        self, held: HeldPartition, epoch: int, arm: str, store: PartitionStore, full: bool
    ) -> Chain:
        """Write what is new of one arm. Its file is good from then on,
        also if another arm's or the manifest fails.
        """
        before = held.chains.get(arm)
        if before and not self._snapshots.has(held.partition, before):
            text = (
                "partition %d, arm %s: files of the last snapshot are gone or cut off, so all "
                "rows are saved anew"
            )
            log.error(text, held.partition, arm)
            self._metrics.snapshot_failures_total.labels("missing").inc()
            before = None
        with held.writer:
            # nobody gave the partition up meanwhile, which may leave rows between two clicks
            held.check_owned(epoch)
            image = store.image(arm, full or before is None or _outgrown(before))
            users = store.users
        written = False
        try:
            chain = self._snapshots.add(held.partition, epoch, image, users, before)
            written = True
        finally:
            image.close(written)
        return chain

    def _retire(self, held: HeldPartition, epoch: int) -> None:
        """Old files that stay cost space only,
        and the next snapshot tries again: no reason to fail this one.
        """
        try:
            self._snapshots.retire(held.partition, epoch)
        except SnapshotError as error:
            log.warning("partition %d: old snapshots stay for now: %s", held.partition, error)
            self._metrics.snapshot_failures_total.labels("retire").inc()

    def _report(self, damage: SnapshotDamaged) -> None:
        log.error("%s", damage)
        self._metrics.snapshot_failures_total.labels(damage.reason).inc()

    def _export(self, held: HeldPartition) -> None:
        """Gauges that are computed when they are read."""

        def age_s() -> float:  # a standby takes no snapshots
            return self._clock.monotonic() - held.saved_s if held.role is Role.OWNER else 0.0

        def predicted_s() -> float:
            return self.forecast.seconds(held.size_bytes, max(0, (held.end or 0) - held.durable))

        age, size, predicted = (gauge.labels(str(held.partition)) for gauge in self._gauges())
        age.set_function(age_s)
        size.set_function(lambda: held.size_bytes)
        predicted.set_function(predicted_s)
        for arm, store in held.restored().items():
            lag = self._metrics.arm_lag_records.labels(str(held.partition), arm)
            lag.set_function(partial(_lag, held, store))

    def _gauges(self) -> tuple[Gauge, Gauge, Gauge]:
        metrics = self._metrics
        return (
            metrics.snapshot_age_seconds,
            metrics.snapshot_bytes,
            metrics.recovery_predicted_seconds,
        )


def _owner_epoch(held: HeldPartition) -> int:
    with held.writer:
        return held.owner_epoch()


def _lag(held: HeldPartition, store: PartitionStore) -> float:
    """Records between an arm and the log's end; NaN until that is known."""
    return math.nan if held.end is None else max(0, held.end - store.position)


def _outgrown(chain: Chain) -> bool:
    """Whether reading the files after the base costs a restore more
    than half of what the base does.
    """
    return len(chain.files) > DELTAS_MAX or 2 * chain.changed_rows > chain.files[0].rows
