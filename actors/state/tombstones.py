"""Which events belong to erased users and are never folded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from actors.clicks.click import ClickBatch


class Tombstones:
    """Of each erased user the offset below which events are not folded; the largest one counts."""

    def __init__(self) -> None:
        self._until: dict[int, int] = {}
        self._users = np.empty(0, dtype=np.uint64)  # ascending
        self._untils = np.empty(0, dtype=np.int64)  # of these

    @property
    def until(self) -> Mapping[int, int]:
        """The offset of each erased user."""
        return MappingProxyType(self._until)

    def set(self, user: int, until: int) -> None:
        """Never fold events of `user` below `until` from now on."""
        self._until = {**self._until, user: max(until, self._until.get(user, 0))}
        self._users = np.array(sorted(self._until), dtype=np.uint64)
        self._untils = np.array([self._until[user] for user in sorted(self._until)], dtype=np.int64)

    def without_erased(self, batch: ClickBatch) -> ClickBatch:
        """The batch over the same range without events that a tombstone forbids."""
        if not self._until or batch.start >= self._untils.max():
            return batch
        at = np.searchsorted(self._users, batch.users).clip(max=len(self._users) - 1)
        return batch.where((self._users[at] != batch.users) | (batch.offsets >= self._untils[at]))
