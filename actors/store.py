"""The user states of one partition and arm, together with the log position they reflect."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import xxhash

from actors.click import ClickBatch
from actors.errors import ConfigError, OffsetGap
from actors.fair_lock import FairLock
from actors.hot import BYTES_BESIDE_ROW_MAX, HotRows
from actors.image import OpenImage, StateImage
from actors.index import Keys
from model.bundle import Bundle
from model.state import Rows

SLICE_EVENTS = 256  # events folded under the lock at a time: readers wait for one slice at most
DIGEST_ROWS = 1024  # rows sorted and hashed at a time, to bound the copy


class Applied(NamedTuple):
    """What one `apply` did."""

    events: int  # folded
    unknown_items: int  # of these, with an item outside the catalogue


class UserRow(NamedTuple):
    """A user's state and the position it is from, taken at one moment."""

    row: Rows | None  # (row_bytes,), a copy; None for a user without events
    position: int


class PartitionStore:
    """Folds batches into rows, each event exactly once, in log order.

    One thread at a time may write (`apply`, `skip_to`, `load`); any number may `read` meanwhile, and one more may take
    an `image`. `digest` looks at all rows and needs the writer to pause, but no reader.

    Raises:
        ConfigError: a user would take more than `bytes_per_user_max` bytes.
    """

    def __init__(self, bundle: Bundle, *, users_initial: int, bytes_per_user_max: int) -> None:
        self.bundle = bundle
        self.bytes_per_user = bundle.layout.row_bytes + BYTES_BESIDE_ROW_MAX
        if self.bytes_per_user > bytes_per_user_max:
            raise ConfigError(
                f"model {bundle.version} needs {self.bytes_per_user} bytes a user ({bundle.layout.row_bytes} of state, "
                f"{BYTES_BESIDE_ROW_MAX} of index), more than state.bytes_per_user_max = {bytes_per_user_max}; "
                f"raise that limit or train a smaller model"
            )
        self._hot = HotRows(bundle.layout.row_bytes, users_initial)
        self._lock = FairLock()
        self._position = 0
        self._image: OpenImage | None = None

    @property
    def position(self) -> int:
        """The next offset: every event below it is in the states."""
        return self._position

    @property
    def users(self) -> int:
        """Users with a state."""
        return len(self._hot)

    @property
    def nbytes(self) -> int:
        """Bytes in use, index included."""
        return self._hot.nbytes

    def apply(self, batch: ClickBatch) -> Applied:
        """Fold what of the batch is not yet folded and move `position` to the batch's stop.

        Raises:
            OffsetGap: the batch starts beyond `position`.
        """
        if batch.start > self._position:
            raise OffsetGap(batch.partition, self._position, batch.start)
        fresh = batch.after(self._position)
        if fresh.stop <= self._position:
            return Applied(0, 0)
        items = self.bundle.item_rows(fresh.items)
        actions = self.bundle.action_ids(fresh.actions)
        for first in range(0, len(fresh), SLICE_EVENTS):
            part = slice(first, first + SLICE_EVENTS)
            users, offsets = fresh.users[part], fresh.offsets[part]
            self._hot.reserve(len(users))
            with self._lock:
                rows = self._hot.add(users)
                if self._image:
                    self._image.save(rows)
                self._hot.changed[rows] = True
                self.bundle.fold(
                    self._hot.matrix,
                    rows,
                    users,
                    items[part],
                    actions[part],
                    fresh.times_ms[part],
                    offsets,
                )
                self._position = int(offsets[-1]) + 1
        self.skip_to(fresh.stop)
        return Applied(len(fresh), int(np.count_nonzero(items >= len(self.bundle.items))))

    def skip_to(self, offset: int) -> None:
        """Count everything below `offset` as applied; never moves back."""
        with self._lock:
            self._position = max(self._position, offset)

    def read(self, user_key: int) -> UserRow:
        """The user's state and the position it is from."""
        wanted = np.array([user_key], dtype=np.uint64)
        with self._lock:
            row = int(self._hot.rows_of(wanted)[0])
            return UserRow(None if row < 0 else self._hot.matrix[row].copy(), self._position)

    def row(self, user_key: int) -> Rows | None:
        """A copy of the user's state, (row_bytes,); None for a user without events."""
        return self.read(user_key).row

    def load(self, users: Keys, rows: Rows) -> None:
        """Enter saved states, (n,) and (n, row_bytes), in place of those that these users may have.

        They count as unchanged, because a snapshot has them. No user may stand in `users` twice.
        """
        for first in range(0, len(users), SLICE_EVENTS):
            part = slice(first, first + SLICE_EVENTS)
            self._hot.reserve(len(users[part]))
            with self._lock:
                numbers = self._hot.add(users[part])  # may replace the matrix, so first
                if self._image:
                    self._image.save(numbers)
                self._hot.matrix[numbers] = rows[part]
                self._hot.changed[numbers] = False

    def image(self, arm: str, full: bool) -> StateImage:
        """Start an image of everything, or of what changed since the last one completed. Nobody waits for it.

        Raises:
            RuntimeError: the last image is still open.
        """
        with self._lock:
            if self._image is not None:
                raise RuntimeError(f"an image of arm {arm} is open already; close it before taking another")
            count = len(self._hot)
            changed = self._hot.changed
            self._hot.changed = np.zeros(len(changed), dtype=np.bool_)
            pending = np.ones(count, dtype=np.bool_) if full else changed[:count].copy()
            self._image = image = OpenImage(self._hot, self._lock, pending, changed)
            return StateImage(
                arm=arm,
                model=self.bundle.version,
                schema=self.bundle.config.schema_hash(),
                position=self._position,
                full=full,
                users=int(np.count_nonzero(pending)),
                row_bytes=self.bundle.layout.row_bytes,
                pieces=image.pieces,
                close=partial(self._close, image),
            )

    def digest(self) -> str:
        """16 hexadecimal digits over position, keys and states in the keys' order: how they came about is no matter."""
        keys, matrix = self._hot.keys, self._hot.matrix
        order = np.argsort(keys)
        digest = xxhash.xxh3_64(self._position.to_bytes(8, "little"))
        digest.update(keys[order].data)
        for first in range(0, len(order), DIGEST_ROWS):
            digest.update(matrix[order[first : first + DIGEST_ROWS]].data)
        return digest.hexdigest()

    def _close(self, image: OpenImage, completed: bool) -> None:
        with self._lock:
            if self._image is not image:
                return
            self._image = None
            image.close()
            if not completed:
                self._hot.changed[: len(image.changed)] |= image.changed
