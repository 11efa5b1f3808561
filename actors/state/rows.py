"""The rows in memory of one partition and arm, found by user key,
and what is known of each: changed, last used.
"""

from __future__ import annotations

import numpy as np

from actors.state.index import BYTES_PER_ENTRY_MAX, KeyIndex
from actors.state.row_memory import GROWTH, RowMemory
from model.arrays import Bools, Bytes, Keys, Longs, UInts

BYTES_BESIDE_ROW_MAX = BYTES_PER_ENTRY_MAX + 1 + 4  # index, changed, used
# about 16 MB, so that rows in daily use are not given back and taken again
RELEASED_ROWS_MIN = 4096


class HotRows:
    """Index, rows, marks and times, which grow and shrink together.

    Guarded by the store's lock, but for `reserve` and `release`, which are the writer's, beside
    readers. Rows beyond the last user's are zero.
    """

    def __init__(self, row_bytes: int, users_initial: int) -> None:
        self._row_bytes = row_bytes
        self._index = KeyIndex(users_initial)
        self._memory = RowMemory(row_bytes, users_initial)
        self._rows_touched = 0
        self.changed: Bools = np.zeros(0, dtype=np.bool_)  # (at least len,): since the last image
        # (at least len,): when an event or a request came last
        self.used: UInts = np.zeros(0, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def keys(self) -> Keys:
        """The user of each row, (len,), a view."""
        return self._index.keys

    @property
    def matrix(self) -> Bytes:
        """The rows, (at least len, row_bytes); not to be kept, as `add` may replace it."""
        return self._memory.matrix

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return len(self) * (self._row_bytes + 1 + 4) + self._index.nbytes

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more users; may take a while."""
        self._index.reserve(extra)
        if (needed := len(self) + extra) > len(self.used):
            more = max(needed, int(len(self.used) * GROWTH)) - len(self.used)
            self.used = np.concatenate([self.used, np.zeros(more, dtype=np.uint32)])

    def rows_of(self, users: Keys) -> Longs:
        """The row of each user, -1 without one. Shapes: (n,) -> (n,)."""
        return self._index.rows_of(users)

    def add(self, users: Keys) -> Longs:
        """The row of each user, zeroed ones for new users;
        there must be room. Shapes: (n,) -> (n,).
        """
        rows = self._index.add(users)
        if len(self._index) > len(self.changed):
            self._memory.reserve(len(self._index))
            more = len(self._memory.matrix) - len(self.changed)
            self.changed = np.concatenate([self.changed, np.zeros(more, dtype=np.bool_)])
        return rows

    def drop(self, rows: Longs) -> None:
        """Forget the users of these rows (n,); the last rows take their places."""
        self._rows_touched = max(self._rows_touched, len(self))
        source, target = self._index.remove(rows)
        end = slice(len(self), len(self) + len(rows))
        for column in (self.matrix, self.changed, self.used):
            column[target] = column[source]
            column[end] = 0

    def release(self) -> None:
        """Give memory that is not needed any more back to the system,
        once there is enough of it.
        """
        if self._rows_touched - len(self) >= RELEASED_ROWS_MIN:
            self._memory.release(len(self), self._rows_touched)
            self._rows_touched = len(self)
