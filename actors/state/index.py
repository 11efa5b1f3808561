"""User key -> row, for whole batches.

An open-addressing table with linear probing. `slots` holds row numbers (int32, -1 = free) and
`keys` holds each row's key, so that no key value is special, 0 included, and the keys in row order
are at hand for snapshots and digests. Rows are dense: a new key gets the next row, and removing one
moves the last row into the gap, so everything that lies beside the keys is one plain slice, and its
end can be given back to the system.

The loops are compiled and release the GIL. Growing builds new arrays beside the old ones and then
swaps the references; as only the partition's single writer grows or adds, readers may go on with
the old arrays meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from actors.errors import ConfigError
from model.arrays import Keys, Longs

ROWS_MAX = 2**31 - 1
FREE = -1
# the key, and 3 slots an entry just after the slots doubled at load 2/3
BYTES_PER_ENTRY_MAX = 8 + 4 * 3


class Moved(NamedTuple):
    """Rows that took the places of removed ones:
    what lay at `source` is at `target` now, both (n,).
    """

    source: Longs
    target: Longs


class KeyIndex:
    """Maps 64-bit keys to the rows 0, 1, 2, ... in order of first appearance, until one is removed.

    Reading is safe beside reading and beside `reserve`; `add` and `remove` must exclude both (the
    store's lock does).
    """

    def __init__(self, entries_initial: int) -> None:
        capacity = max(16, entries_initial)
        self._count = 0
        self._keys: Keys = np.empty(capacity, dtype=np.uint64)
        self._slots = _slots_for(capacity)
        frozen = self.keys
        # columns that came through Ray are; numba compiles for either kind
        frozen.flags.writeable = False
        for none in (self.keys, frozen):  # compile now, not while a lock is held
            self.add(none)
            self.rows_of(none)
        self.remove(np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Keys:
        """The key of each row, (len,), a view."""
        return self._keys[: self._count]

    @property
    def nbytes(self) -> int:
        """Bytes allocated now; at most BYTES_PER_ENTRY_MAX an entry,
        less the untouched end of `keys`.
        """
        return self._slots.nbytes + 8 * self._count

    def rows_of(self, wanted: Keys) -> Longs:
        """The row of each key, -1 where it is unknown. Shapes: (n,) -> (n,)."""
        found = np.empty(len(wanted), dtype=np.int64)
        _find(self._keys, self._slots, wanted, found)
        return found

    def add(self, wanted: Keys) -> Longs:
        """The row of each key; unknown ones get new rows,
        equal ones the same. Shapes: (n,) -> (n,).
        """
        self.reserve(len(wanted))
        rows = np.empty(len(wanted), dtype=np.int64)
        self._count = _find_or_add(self._keys, self._slots, self._count, wanted, rows)
        return rows

    def remove(self, rows: Longs) -> Moved:
        """Forget the keys of these rows (n,), none of which stands there twice;
        the last rows take their places.
        """
        count = self._count - len(rows)
        tail = np.arange(count, self._count)
        source = tail[~np.isin(tail, rows)]
        target = rows[rows < count]
        _remove(self._keys, self._slots, rows)
        _move(self._keys, self._slots, source, target)
        self._count = count
        return Moved(source, target)

    def reserve(self, extra: int) -> None:
        """Make room for `extra` more keys.

        Raises:
            ConfigError: more than 2^31 - 1 users in one partition.
        """
        needed = self._count + extra
        if needed > ROWS_MAX:
            raise ConfigError(
                f"one partition would hold {needed} users, more than the {ROWS_MAX} that an index "
                "can number; raise topics.partitions"
            )
        if needed > len(self._keys):
            keys = np.empty(min(ROWS_MAX, max(needed, 2 * len(self._keys))), dtype=np.uint64)
            keys[: self._count] = self.keys
            self._keys = keys
        if 3 * needed > 2 * len(self._slots):
            slots = _slots_for(needed)
            _place(self._keys, self._count, slots)
            self._slots = slots


def _slots_for(entries: int) -> npt.NDArray[np.int32]:
    """Free slots, the smallest power of two that `entries` fill to 2/3 at most."""
    return np.full(1 << (3 * entries // 2).bit_length(), FREE, dtype=np.int32)


@njit(cache=True, nogil=True)
def _home(slots, key):  # type: ignore[no-untyped-def]
    """The slot where looking for `key` begins."""
    # The top bits of a multiplication depend on all bits of the key, also where keys are no good
    # hashes.
    return ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & np.uint64(len(slots) - 1)


@njit(cache=True, nogil=True)
def _slot(keys, slots, key):  # type: ignore[no-untyped-def]
    """The slot that holds `key`, or the free one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    at = _home(slots, key)
    while slots[at] != FREE and keys[slots[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True, nogil=True)
def _find(keys, slots, wanted, found):  # type: ignore[no-untyped-def]
    """Set found[i] to the row of wanted[i], or -1."""
    for i in range(len(wanted)):
        found[i] = slots[_slot(keys, slots, wanted[i])]


@njit(cache=True, nogil=True)
def _find_or_add(keys, slots, count, wanted, rows):  # type: ignore[no-untyped-def]
    """Set rows[i] to the row of wanted[i], the next new one where unknown;
    the number of rows afterwards.
    """
    for i in range(len(wanted)):
        at = _slot(keys, slots, wanted[i])
        if slots[at] == FREE:
            keys[count] = wanted[i]
            slots[at] = count
            count += 1
        rows[i] = slots[at]
    return count


@njit(cache=True, nogil=True)
def _place(keys, count, slots):  # type: ignore[no-untyped-def]
    """Enter the first `count` keys, all different, into free `slots`."""
    for row in range(count):
        slots[_slot(keys, slots, keys[row])] = row


@njit(cache=True, nogil=True)
def _remove(keys, slots, rows):  # type: ignore[no-untyped-def]
    """Free the slots of `rows`; entries behind them move up,
    so that no chain is cut and no mark is left behind.
    """
    mask = np.uint64(len(slots) - 1)
    for i in range(len(rows)):
        gap = _slot(keys, slots, keys[rows[i]])
        at = (gap + np.uint64(1)) & mask
        while slots[at] != FREE:
            # its chain passes the gap
            if (at - _home(slots, keys[slots[at]])) & mask >= at - gap & mask:
                slots[gap] = slots[at]
                gap = at
            at = (at + np.uint64(1)) & mask
        slots[gap] = FREE


@njit(cache=True, nogil=True)
def _move(keys, slots, source, target):  # type: ignore[no-untyped-def]
    """Give the keys of the rows `source` the numbers `target`."""
    for i in range(len(source)):
        slots[_slot(keys, slots, keys[source[i]])] = target[i]
        keys[target[i]] = keys[source[i]]
