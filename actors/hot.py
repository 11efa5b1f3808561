"""The rows in memory of one partition and arm, found by user key, and which of them changed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from actors.index import BYTES_PER_ENTRY_MAX, KeyIndex, Keys, RowNumbers
from actors.row_memory import RowMemory
from model.state import Rows

BYTES_BESIDE_ROW_MAX = BYTES_PER_ENTRY_MAX + 1  # index, changed


class HotRows:
    """Index, rows and marks, which grow together. Guarded by the store's lock, but for what `reserve` says."""

    def __init__(self, row_bytes: int, users_initial: int) -> None:
        self._row_bytes = row_bytes
        self._index = KeyIndex(users_initial)
        self._memory = RowMemory(row_bytes, users_initial)
        self.changed: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)  # (at least len,): since the last image

    def __len__(self) -> int:
        return len(self._index)

    @property
    def keys(self) -> Keys:
        """The user of each row, (len,), a view."""
        return self._index.keys

    @property
    def matrix(self) -> Rows:
        """The rows, (at least len, row_bytes); not to be kept, as `add` may replace it."""
        return self._memory.matrix

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return len(self) * (self._row_bytes + 1) + self._index.nbytes

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more users, beside readers; may take a while, so not to be done under the lock."""
        self._index.reserve(extra)

    def rows_of(self, users: Keys) -> RowNumbers:
        """The row of each user, -1 without one. Shapes: (n,) -> (n,)."""
        return self._index.rows_of(users)

    def add(self, users: Keys) -> RowNumbers:
        """The row of each user, zeroed ones for new users. Shapes: (n,) -> (n,)."""
        rows = self._index.add(users)
        self._memory.reserve(len(self._index))
        if len(self._index) > len(self.changed):
            self.changed = np.concatenate([self.changed, np.zeros(len(self.matrix) - len(self.changed), np.bool_)])
        return rows
