"""A cold tier in memory, which takes its time and is full while the disk is:
for `actors.state.cold.ColdTier`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from actors.errors import ColdTierError
from actors.state.cold import NOBODY, PIECE_USERS
from model.arrays import Bytes, Keys
from tests.simulation.simulated import blocking
from tests.simulation.simulated.loop import PROCESS

if TYPE_CHECKING:
    from tests.simulation.simulated.disk import Disk

EXCHANGE_S = 0.002


class SimColdDirectory:
    """The cold tiers of a shard (an `actors.state.cold.ColdDirectory`)."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def clear(self) -> None:
        """Memory ends with its process."""

    def tier(self, _name: str, row_bytes: int, _bytes_max: int) -> SimCold:
        """An empty tier."""
        return SimCold(self._disk, row_bytes)


class SimCold:
    """Rows by user key."""

    def __init__(self, disk: Disk, row_bytes: int) -> None:
        self._disk = disk
        self._row_bytes = row_bytes
        self._rows = dict[int, Bytes]()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes of rows."""
        return len(self._rows) * self._row_bytes

    def get(self, users: Keys) -> tuple[Keys, Bytes]:
        """Those of `users` that are here, and their rows."""
        return _piece(self._rows, users.tolist(), self._row_bytes)

    def exchange(self, users: Keys, rows: Bytes, gone: Keys) -> None:
        """Put some, delete others: both or neither."""
        rows = rows.copy()
        PROCESS.get().step()
        blocking.wait(EXCHANGE_S * PROCESS.get().random.random())
        if self._disk.full:
            raise ColdTierError("the simulated disk is full")
        here = {user: row for user, row in self._rows.items() if user not in set(gone.tolist())}
        self._rows = here | dict(zip(users.tolist(), rows, strict=True))

    def view(self) -> SimColdView:
        """What is here now."""
        return SimColdView(self._rows, self._row_bytes)

    def close(self) -> None:
        """Nothing is left anyway."""


class SimColdView:
    """What was here at one moment."""

    def __init__(self, rows: dict[int, Bytes], row_bytes: int) -> None:
        self._rows = rows
        self._row_bytes = row_bytes

    def users(self) -> Keys:
        """All of them, ascending."""
        return np.array(sorted(self._rows), dtype=np.uint64)

    def pieces(self, users: Keys | None) -> Iterator[tuple[Keys, Bytes]]:
        """Those of `users`, or everybody, some at a time."""
        wanted = sorted(self._rows if users is None else users.tolist())
        for first in range(0, len(wanted), PIECE_USERS):
            yield _piece(self._rows, wanted[first : first + PIECE_USERS], self._row_bytes)

    def close(self) -> None:
        """Let go."""


def _piece(rows: dict[int, Bytes], wanted: list[int], row_bytes: int) -> tuple[Keys, Bytes]:
    if not (found := [user for user in wanted if user in rows]):
        return NOBODY, np.empty((0, row_bytes), dtype=np.uint8)
    return np.array(found, dtype=np.uint64), np.stack([rows[user] for user in found])
