"""The clean run: the same log folded once, in order, without anything in between. What everything is compared with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from actors.click import ClickBatch
from actors.clock import Clock
from actors.codec import Decoder
from actors.store import PartitionStore
from model.bundle import Bundle
from tests.simulation.kafka_log import FORMAT, SimPartition

Archived = tuple[int, str, str, str, int]  # offset, user, item, action, event time


@dataclass(frozen=True, slots=True)
class History:
    """A user's states: the offset of each of the user's clicks, and the state's digest after it."""

    offsets: list[int]
    digests: list[str]


class Clean:
    """States as they must be, at every offset."""

    def __init__(self, logs: Sequence[SimPartition], arms: Mapping[str, Bundle], clock: Clock) -> None:
        decoder = Decoder(FORMAT, clock)
        self.batches = [decoder.decode_batch(number, 0, log.length, log.records)[0] for number, log in enumerate(logs)]
        self._arms = arms
        self._histories: dict[tuple[int, str, int], History] = {}

    def digest(self, partition: int, arm: str) -> str:
        """The digest of a partition's states at the log's end."""
        batch = self.batches[partition]
        store = PartitionStore(self._arms[arm], users_initial=len(batch) + 1, bytes_per_user_max=1 << 20)
        store.apply(batch)
        return store.digest()

    def state(self, partition: int, arm: str, user_key: int, offset: int) -> str:
        """The digest of a user's state that holds every click below `offset`; "" before the first."""
        at = (partition, arm, user_key)
        if at not in self._histories:
            self._histories[at] = _history(self._arms[arm], self.batches[partition], user_key)
        history = self._histories[at]
        count = bisect_left(history.offsets, offset)
        return history.digests[count - 1] if count else ""


def _history(bundle: Bundle, batch: ClickBatch, user_key: int) -> History:
    mine = np.flatnonzero(batch.users == np.uint64(user_key))
    row = np.zeros((1, bundle.layout.row_bytes), dtype=np.uint8)
    items, actions = bundle.item_rows(batch.items), bundle.action_ids(batch.actions)
    digests = []
    for at in mine.tolist():
        one = slice(at, at + 1)
        what = batch.users[one], items[one], actions[one], batch.times_ms[one], batch.offsets[one]
        bundle.fold(row, np.zeros(1, np.int64), *what)
        digests.append(xxhash.xxh64_hexdigest(row.tobytes()))
    return History(batch.offsets[mine].tolist(), digests)
