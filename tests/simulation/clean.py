"""The clean run: the same log folded once, in order, without anything in between.
What everything is compared with.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import xxhash
from pyarrow import fs

from actors.clicks.click import ClickBatch
from actors.clicks.codec import Decoder
from actors.clock import Clock
from actors.snapshots.tombstone_files import NAME, TombstoneFiles
from actors.state.store import PartitionStore
from actors.state.tombstones import Tombstones
from model.bundle.bundle import Bundle
from tests.simulation.simulated.disk import Disk
from tests.simulation.simulated.kafka_log import FORMAT, SimPartition
from tests.simulation.simulated.trace import Violation

Archived = tuple[int, str, str, str, int]  # offset, user, item, action, event time


@dataclass(frozen=True, slots=True)
class History:
    """A user's states: the offset of each of the user's clicks, and the state's digest after it."""

    offsets: list[int]
    digests: list[str]


class Erased:
    """The tombstones there are, and those that the operator has a receipt for."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], list[int]] = {}  # partition and user -> offsets
        self.settled: dict[int, dict[int, int]] = {}  # at the end, by partition: user -> offset
        self._promised: dict[tuple[int, int], int] = {}

    def named(self, partition: int, name: str) -> None:
        """A file got its name."""
        if found := NAME.fullmatch(name):
            self.seen.setdefault((partition, int(found["user"], 16)), []).append(
                int(found["until"])
            )

    def promised(self, partition: int, user_key: int, until: int) -> None:
        """There is a receipt."""
        self._promised[partition, user_key] = max(
            until, self._promised.get((partition, user_key), 0)
        )

    def settle(self, partition: int, disk: Disk) -> None:
        """Take up the tombstones that are there at the end;
        none that a receipt names may be missing.
        """
        self.settled[partition] = TombstoneFiles(cast("fs.FileSystem", disk), "state").read(
            partition
        )
        for (at, user_key), until in self._promised.items():
            if at == partition and self.settled[partition].get(user_key, 0) < until:
                raise Violation(
                    f"partition {partition}: the tombstone of {user_key:x} until {until} is gone"
                )


class Clean:
    """States as they must be, at every offset."""

    def __init__(
        self, logs: Sequence[SimPartition], arms: Mapping[str, Bundle], clock: Clock
    ) -> None:
        self._clock = clock
        decoder = Decoder(FORMAT, clock, partitions=len(logs))
        decoded = [
            decoder.decode_batch(number, 0, log.length, log.records)
            for number, log in enumerate(logs)
        ]
        self.batches = [batch for batch, _ in decoded]
        self.unusable = [{letter.offset for letter in dead} for _, dead in decoded]  # by partition
        self._arms = arms
        self.tombstones = Erased()
        self._histories: dict[tuple[int, str, int, int], History] = {}

    def digest(self, partition: int, arm: str) -> str:
        """The digest of a partition's states at the log's end."""
        batch = self.batches[partition]
        store = PartitionStore(
            self._arms[arm],
            users_initial=len(batch) + 1,
            bytes_per_user_max=1 << 20,
            clock=self._clock,
        )
        for user_key, until in self.tombstones.settled[partition].items():
            store.set_tombstone(user_key, until)
        store.fold(batch)
        return store.digest()

    def kept(self, partition: int) -> ClickBatch:
        """The log's clicks but those of erased users; at the end."""
        tombstones = Tombstones()
        for user_key, until in self.tombstones.settled[partition].items():
            tombstones.set(user_key, until)
        return tombstones.without_erased(self.batches[partition])

    def erased(self, partition: int, arm: str, user_key: int, offset: int) -> list[str]:
        """As `state`, after each of the user's erasures so far."""
        untils = self.tombstones.seen.get((partition, user_key), ())
        return [self.state(partition, arm, user_key, offset, until) for until in untils]

    def state(self, partition: int, arm: str, user_key: int, offset: int, since: int = 0) -> str:
        """The digest of a user's state that holds every click from `since` on
        below `offset`; "" before the first.
        """
        at = (partition, arm, user_key, since)
        if at not in self._histories:
            self._histories[at] = _history(
                self._arms[arm], self.batches[partition].after(since), user_key
            )
        history = self._histories[at]
        count = bisect_left(history.offsets, offset)
        return history.digests[count - 1] if count else ""


def _history(bundle: Bundle, batch: ClickBatch, user_key: int) -> History:
    mine = np.flatnonzero(batch.users == np.uint64(user_key))
    row = np.zeros((1, bundle.layout.row_bytes), dtype=np.uint8)
    items = bundle.item_rows(batch.items)
    actions = bundle.action_ids(batch.actions)
    digests = []
    for at in mine.tolist():
        one = slice(at, at + 1)
        what = batch.users[one], items[one], actions[one], batch.times_ms[one], batch.offsets[one]
        bundle.fold(row, np.zeros(1, np.int64), *what)
        digests.append(xxhash.xxh64_hexdigest(row.tobytes()))
    return History(batch.offsets[mine].tolist(), digests)
