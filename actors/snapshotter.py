"""When and how an owned partition is saved."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from actors.clock import Clock
from actors.errors import SnapshotError
from actors.owned import Owned
from actors.row_memory import RowMemory
from actors.snapshot import SnapshotStore
from actors.store import StateImage
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


class Snapshotter:
    """Saves one partition at a time, one arm after the other.

    An arm's rows are copied while its partition's writer pauses, then written while folding goes on. The copy goes to a
    scratch memory that is kept and touched beforehand: a pause runs at memory speed, and costs no page faults. It is as
    large as the largest arm of a partition. As arms are copied one by one, each file has its own position.
    """

    def __init__(self, snapshots: SnapshotStore, metrics: Metrics, clock: Clock, interval_s: float) -> None:
        self._snapshots, self._metrics, self._clock, self._interval_s = snapshots, metrics, clock, interval_s
        self._one_at_a_time = threading.Lock()
        self._scratch: dict[int, RowMemory] = {}  # by bytes a row

    def is_due(self, owned: Owned, now_s: float) -> bool:
        """Whether the interval has passed since the last attempt, successful or not."""
        return owned.stores is not None and now_s - owned.attempted_s >= self._interval_s

    def save(self, owned: Owned) -> int:
        """Save the partition unless its newest state is saved already; the offset that snapshots now cover.

        Raises:
            SnapshotError: it could not be written; counted, and due again after the interval.
        """
        with self._one_at_a_time:
            started_s = owned.attempted_s = self._clock.monotonic()
            if owned.position > owned.durable:
                try:
                    manifest = self._snapshots.save(owned.partition, owned.epoch, self._images(owned))
                except SnapshotError:
                    self._metrics.snapshot_failures_total.labels("write").inc()
                    raise
                owned.durable = manifest.position
                self._metrics.snapshot_seconds.observe(self._clock.monotonic() - started_s)
                self._retire(owned)
            owned.saved_s = started_s
            return owned.durable

    def _images(self, owned: Owned) -> Iterator[StateImage]:
        for arm, store in owned.restored().items():
            width = store.bundle.layout.row_bytes
            if width not in self._scratch:
                self._scratch[width] = RowMemory(width, 1)
            self._scratch[width].prefault(store.users)
            with owned.writer:
                owned.restored()  # nobody gave the partition up meanwhile
                image = store.image(arm, self._scratch[width])
            yield image

    def _retire(self, owned: Owned) -> None:
        """Old files that stay cost space only, and the next snapshot tries again: no reason to fail this one."""
        try:
            self._snapshots.retire(owned.partition)
        except SnapshotError as error:
            log.warning("partition %d: old snapshots stay for now: %s", owned.partition, error)
            self._metrics.snapshot_failures_total.labels("retire").inc()
