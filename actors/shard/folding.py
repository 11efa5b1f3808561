"""How clicks get into a partition that is held, and how they are counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from actors.clicks.click import ClickBatch
from actors.clock import Clock
from actors.shard.forecast import RecoveryForecast
from actors.shard.held import HeldPartition, Stores
from actors.shard.roles import Feed, Role
from actors.shard.unknown_items import UnknownItems
from model.bundle.bundle import Bundle
from monitoring.metrics import Metrics

log = logging.getLogger(__name__)


class Folding:
    """Folds batches into the arms of held partitions, one writer a partition.

    `give_up` lets go of a partition, for who holds its writer: so ends a fold that fails.
    """

    def __init__(
        self,
        arms: Mapping[str, Bundle],
        metrics: Metrics,
        clock: Clock,
        forecast: RecoveryForecast,
        give_up: Callable[[HeldPartition], None],
    ) -> None:
        self._unknown_items = UnknownItems(metrics, arms)
        self._metrics = metrics
        self._clock = clock
        self._forecast = forecast
        self._give_up = give_up

    def fold(self, held: HeldPartition, batch: ClickBatch, epoch: int, feed: Feed) -> int:
        """Fold the batch into every arm that goes on at its start or beyond; where the reader goes
        on. Errors as in `Shard.apply`.
        """
        with held.writer:
            stores = held.fed(epoch, batch.start, feed)
            batch = batch.before(held.limit(batch.stop, feed))
            before = held.next_offset(feed)
            newest = max(store.position for store in stores.values())
            self._into_all(held, stores, batch)
            held.line_up()
            position = held.next_offset(feed)
        self._count(batch, before, newest, feed, held.role)
        return position

    def skip(
        self, held: HeldPartition, start: int, stop: int, reason: str, epoch: int, feed: Feed
    ) -> int:
        """Move over offsets that the log has lost; where the reader goes on. Errors as in
        `Shard.apply`.
        """
        with held.writer:
            stores = held.fed(epoch, start, feed)
            before = held.next_offset(feed)
            stop = held.limit(stop, feed)
            for store in stores.values():
                store.skip_to(stop)
            held.line_up()
            position = held.next_offset(feed)
        if (lost := max(0, stop - before)) and held.role is Role.OWNER:
            text = (
                "partition %d: %d offsets from %d on are gone from the log (%s); some arm's "
                "states miss their clicks"
            )
            log.error(text, held.partition, lost, before, reason)
            self._metrics.events_total.labels(str(held.partition), "lost").inc(lost)
        return position

    def _into_all(self, held: HeldPartition, stores: Stores, batch: ClickBatch) -> None:
        folded = 0
        took_s = 0.0
        try:
            for arm, store in stores.items():
                started_s = self._clock.monotonic()
                found = store.fold(batch)
                took_s += (arm_s := self._clock.monotonic() - started_s)
                folded = max(folded, found.events)
                self._metrics.fold_seconds.observe(arm_s)
                self._unknown_items.count(arm, found.events, found.unknown_items)
                self._metrics.unknown_actions_total.labels(arm).inc(found.unknown_actions)
        except Exception:
            # Rows may stand between two events now, which no retry can mend; a restored snapshot
            # can.
            log.error(
                "partition %d: folding failed at offset %d; it is given up",
                held.partition,
                held.position,
            )
            self._give_up(held)
            raise
        self._forecast.folded(folded, took_s)

    def _count(self, batch: ClickBatch, before: int, newest: int, feed: Feed, role: Role) -> None:
        """Events new to the front are applied; freshness is of those new to all,
        at the end of the whole batch.

        What a standby folds, or an arm behind the front, is counted apart, so that sums over shards
        stay the log's.
        """
        applied = len(batch.after(before))
        partition = str(batch.partition)
        if role is Role.STANDBY or feed is Feed.BEHIND:
            apart = "standby" if role is Role.STANDBY else "catching_up"
            self._metrics.events_total.labels(partition, apart).inc(applied)
            return
        self._metrics.events_total.labels(partition, "applied").inc(applied)
        self._metrics.events_total.labels(partition, "duplicate").inc(len(batch) - applied)
        record_ms = batch.after(newest).record_ms
        age_s = (self._clock.now_ms() - record_ms[record_ms > 0]) / 1000
        self._metrics.event_to_score_seconds.observe_many(age_s.clip(min=0))
