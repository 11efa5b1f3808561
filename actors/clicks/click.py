"""Clicks, as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, NewType

import numpy as np
import xxhash

from model.arrays import Bools, Keys, Longs

PartitionId = NewType("PartitionId", int)
Offset = NewType("Offset", int)
UserKey = NewType("UserKey", int)


def key(identifier: str) -> int:
    """64-bit key of a user, item or action id: xxh64 of its UTF-8 bytes, seed 0."""
    return xxhash.xxh64_intdigest(identifier.encode())


class Click(NamedTuple):
    """One user action on one item, as a record holds it."""

    user: str
    item: str
    action: str
    time_ms: int  # event time, milliseconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickBatch:
    """Everything usable in the offsets [start, stop) of one partition, in offset order.

    Offsets have holes (transaction markers, compaction, dead-lettered records), so `stop` is the
    consumer's position after the poll and never the last offset + 1. All columns have the same
    length, which may be 0.
    """

    partition: int
    start: int
    stop: int
    offsets: Longs
    users: Keys
    items: Keys
    actions: Keys
    times_ms: Longs  # event time
    record_ms: Longs  # Kafka record timestamp, for event-to-score freshness

    def __len__(self) -> int:
        return len(self.offsets)

    def after(self, offset: int) -> ClickBatch:
        """The same batch without what lies below `offset`."""
        return self._between(min(max(offset, self.start), self.stop), self.stop)

    def before(self, offset: int) -> ClickBatch:
        """The same batch without what lies at or above `offset`."""
        return self._between(self.start, max(min(offset, self.stop), self.start))

    def where(self, stay: Bools) -> ClickBatch:
        """The batch over the same range with those clicks (n,) alone."""
        if stay.all():
            return self
        columns = ("offsets", "users", "items", "actions", "times_ms", "record_ms")
        return replace(self, **{name: getattr(self, name)[stay] for name in columns})

    def _between(self, start: int, stop: int) -> ClickBatch:
        if (start, stop) == (self.start, self.stop):
            return self
        part = slice(*np.searchsorted(self.offsets, [start, stop]))
        return ClickBatch(
            partition=self.partition,
            start=start,
            stop=stop,
            offsets=self.offsets[part],
            users=self.users[part],
            items=self.items[part],
            actions=self.actions[part],
            times_ms=self.times_ms[part],
            record_ms=self.record_ms[part],
        )
