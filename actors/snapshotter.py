"""When and how an owned partition is saved."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import closing

from actors.clock import Clock
from actors.errors import SnapshotError
from actors.image import StateImage
from actors.owned import Owned
from actors.snapshot import SnapshotStore
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


class Snapshotter:
    """Saves one partition at a time, one arm after the other.

    An arm's rows are copied in pieces while folding goes on. As arms are taken one by one, each file has its own
    position.
    """

    def __init__(self, snapshots: SnapshotStore, metrics: Metrics, clock: Clock, interval_s: float) -> None:
        self._snapshots, self._metrics, self._clock, self._interval_s = snapshots, metrics, clock, interval_s
        self._one_at_a_time = threading.Lock()

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
                    with closing(self._images(owned)) as images:
                        manifest = self._snapshots.save(owned.partition, owned.epoch, images)
                except SnapshotError:
                    self._metrics.snapshot_failures_total.labels("write").inc()
                    raise
                owned.durable = manifest.position
                self._metrics.snapshot_seconds.observe(self._clock.monotonic() - started_s)
                self._retire(owned)
            owned.saved_s = started_s
            return owned.durable

    def _images(self, owned: Owned) -> Generator[StateImage, None, None]:
        for arm, store in owned.restored().items():
            with owned.writer:
                owned.restored()  # nobody gave the partition up meanwhile
                image = store.image(arm, full=True)
            written = False
            try:
                yield image
                written = True
            finally:
                image.close(written)

    def _retire(self, owned: Owned) -> None:
        """Old files that stay cost space only, and the next snapshot tries again: no reason to fail this one."""
        try:
            self._snapshots.retire(owned.partition)
        except SnapshotError as error:
            log.warning("partition %d: old snapshots stay for now: %s", owned.partition, error)
            self._metrics.snapshot_failures_total.labels("retire").inc()
