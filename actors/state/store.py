"""The user states of one partition and arm, together with the log position they reflect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import xxhash

from actors.clicks.click import ClickBatch
from actors.clock import Clock
from actors.errors import ConfigError, OffsetGap
from actors.locks import FairLock
from actors.state.cold import ColdTier
from actors.state.image import PIECE_ROWS, StateImage
from actors.state.rows import BYTES_BESIDE_ROW_MAX, HotRows
from actors.state.tiers import OnEvicted, Tiers
from actors.state.tombstones import Tombstones
from actors.state.twins import Twins
from model.arrays import Bytes, Keys
from model.bundle.bundle import UNKNOWN_ACTION, Bundle

SLICE_EVENTS = 256  # events folded under the lock at a time: readers wait for one slice at most
SLICES_ADMITTED = 8  # slices whose users are brought into memory together
LOADED_AT_ONCE = 256  # rows entered under the lock at a time


class Folded(NamedTuple):
    """What one `fold` did."""

    events: int  # folded
    unknown_items: int  # of these, with an item outside the catalogue
    unknown_actions: int  # passed over: the model does not know what they did


class UserRow(NamedTuple):
    """A user's state and the position it is from, taken at one moment."""

    row: Bytes | None  # (row_bytes,), a copy; None for a user without events
    position: int


class PartitionStore:
    """Folds batches into rows, each event exactly once, in log order.

    One thread at a time may write (`fold`, `skip_to`, `load`, `evict_idle`, `erase`,
    `set_tombstone`); any number may `read` meanwhile, and one more may take an `image`. `digest`
    and `states` look at all rows and need the writer to pause, but no reader.

    With `twins_one_in`, one in so many users is also kept in float32, for `compression_errors`.

    With a cold tier, memory holds the users who were used last, at most `hot_bytes_max` bytes of
    them, but always those of the next SLICES_ADMITTED slices. Others wait on disk; an event brings
    them back before it is folded, a read soon after it. While the disk is full they stay in memory,
    above the limit.

    Raises:
        ConfigError: a user would take more than `bytes_per_user_max` bytes, or memory is limited
            without a cold tier.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        users_initial: int,
        bytes_per_user_max: int,
        hot_bytes_max: int | None = None,
        cold: ColdTier | None = None,
        clock: Clock,
        on_evicted: OnEvicted | None = None,
        twins_one_in: int = 0,
        new_lock: Callable[[], FairLock] = FairLock,
        slice_events: int = SLICE_EVENTS,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self.bundle = bundle
        self.bytes_per_user = bundle.layout.row_bytes + BYTES_BESIDE_ROW_MAX
        if self.bytes_per_user > bytes_per_user_max:
            raise ConfigError(
                f"model {bundle.version} needs {self.bytes_per_user} bytes a user "
                f"({bundle.layout.row_bytes} of state, {BYTES_BESIDE_ROW_MAX} of index), more "
                f"than state.bytes_per_user_max = {bytes_per_user_max}; raise that limit or train "
                "a smaller model"
            )
        if hot_bytes_max is not None and cold is None:
            raise ConfigError(
                f"users beyond {hot_bytes_max} bytes of memory have nowhere to go without a cold "
                "tier"
            )
        hot_max = None if hot_bytes_max is None else hot_bytes_max // self.bytes_per_user
        self._tiers = Tiers(
            HotRows(bundle.layout.row_bytes, users_initial),
            cold,
            hot_max,
            clock,
            on_evicted,
            new_lock,
            piece_rows,
        )
        self._slice_events = slice_events
        self._admitted_events = SLICES_ADMITTED * slice_events
        self._tombstones = Tombstones()
        self._twins = Twins.of(bundle, twins_one_in)
        self._position = 0

    @property
    def position(self) -> int:
        """The next offset: every event below it is in the states."""
        return self._position

    @property
    def users(self) -> int:
        """Users with a state, in either tier."""
        return len(self._tiers)

    @property
    def users_hot(self) -> int:
        """Users in memory."""
        return len(self._tiers.hot)

    @property
    def users_cold(self) -> int:
        """Users on disk."""
        return self._tiers.users_cold

    @property
    def bytes_hot(self) -> int:
        """Bytes of memory in use, index included."""
        return self._tiers.hot.nbytes

    @property
    def bytes_cold(self) -> int:
        """Bytes on disk."""
        return 0 if self._tiers.cold is None else self._tiers.cold.nbytes

    @property
    def cold_full(self) -> bool:
        """Whether users stay in memory, above the limit, because the disk takes no more."""
        return self._tiers.cold is not None and self._tiers.cold.full

    @property
    def tombstones(self) -> Mapping[int, int]:
        """Of each erased user the offset below which events are not folded."""
        return self._tombstones.until

    def fold(self, batch: ClickBatch) -> Folded:
        """Fold what of the batch is not yet folded and move `position` to the batch's stop.

        Events with an action that the model does not know are passed over: they make no user and
        change no state.

        Raises:
            OffsetGap: the batch starts beyond `position`.
        """
        if batch.start > self._position:
            raise OffsetGap(batch.partition, self._position, batch.start)
        fresh = self._tombstones.without_erased(batch.after(self._position))
        if fresh.stop <= self._position:
            return Folded(0, 0, 0)
        actions = self.bundle.action_ids(fresh.actions)
        known = actions != UNKNOWN_ACTION
        fresh = fresh.where(known)
        actions = actions[known]
        items = self.bundle.item_rows(fresh.items)
        for first in range(0, len(fresh), self._slice_events):
            if first % self._admitted_events == 0:
                self._tiers.admit(fresh.users[first : first + self._admitted_events])
            part = slice(first, first + self._slice_events)
            users = fresh.users[part]
            offsets = fresh.offsets[part]
            with self._tiers.lock:
                rows = self._tiers.rows_to_change(users)
                columns = (rows, users, items[part], actions[part], fresh.times_ms[part], offsets)
                if self._twins is not None:
                    self._twins.fold(self._tiers.hot.matrix, *columns)
                self.bundle.fold(self._tiers.hot.matrix, *columns)
                self._position = int(offsets[-1]) + 1
        self.skip_to(fresh.stop)
        unknown_items = int(np.count_nonzero(items >= len(self.bundle.items)))
        return Folded(len(fresh), unknown_items, int(np.count_nonzero(~known)))

    def skip_to(self, offset: int) -> None:
        """Count everything below `offset` as applied; never moves back."""
        with self._tiers.lock:
            self._position = max(self._position, offset)

    def read(self, user_key: int) -> UserRow:
        """The user's state and the position it is from."""
        with self._tiers.lock:
            return UserRow(self._tiers.find(user_key), self._position)

    def row(self, user_key: int) -> Bytes | None:
        """A copy of the user's state, (row_bytes,); None for a user without events."""
        return self.read(user_key).row

    def load(self, users: Keys, rows: Bytes) -> None:
        """Enter saved states, (n,) and (n, row_bytes), in place of those that these users may have.

        They count as unchanged, because a snapshot has them. No user may stand in `users` twice.
        """
        for first in range(0, len(users), LOADED_AT_ONCE):
            part = slice(first, first + LOADED_AT_ONCE)
            self._tiers.enter(users[part], rows[part])
        self._forget_shadows(users)

    def image(self, arm: str, full: bool) -> StateImage:
        """Start an image of everything,
        or of what changed since the last one completed; it stops nobody.

        Raises:
            RuntimeError: the last image is still open.
        """
        with self._tiers.still():
            image = self._tiers.open(full)
            position = self._position
        return StateImage(
            arm=arm,
            model=self.bundle.version,
            schema=self.bundle.config.schema_hash(),
            position=position,
            full=full,
            users=image.users,
            row_bytes=self.bundle.layout.row_bytes,
            pieces=image.pieces,
            close=partial(self._tiers.close, image),
        )

    def evict_idle(self, idle_s: float) -> int:
        """Move some users who were not used for `idle_s` seconds to the cold tier;
        how many, 0 when no more can go.
        """
        return self._tiers.evict_idle(idle_s)

    def set_tombstone(self, user_key: int, until: int) -> None:
        """Never fold events of the user below offset `until` from now on.
        Setting the same or a lower one does nothing.

        Raises:
            ValueError: events between `until` and the position may be folded already, so `until` is
                too low.
        """
        if until <= self.tombstones.get(user_key, -1):
            return
        if until < self._position:
            raise ValueError(
                f"a tombstone until offset {until} comes too late for a state that is at "
                f"{self._position}; set it until there at least"
            )
        self._tombstones.set(user_key, until)

    def erase(self, user_key: int) -> bytes | None:
        """Forget the user, in either tier; the state that was there.
        A tombstone has to be set before.

        An open image leaves the user out of the pieces that are still to come. Later deltas cannot
        say that a user is gone, so a full image has to replace what older images left behind.

        Raises:
            ColdTierError: the disk is full; the user is still there.
        """
        row = self._tiers.erase(user_key)
        self._forget_shadows(np.array([user_key], dtype=np.uint64))
        return None if row is None else row.tobytes()

    def compression_errors(self) -> list[float]:
        """Relative error of the states of sampled users in memory against
        float32 ones; see `actors.state.twins`.
        """
        if self._twins is None:
            return []
        with self._tiers.lock:
            users = self._twins.users
            rows = self._tiers.hot.rows_of(users)
            twins = self._twins.copies(users[rows >= 0])
            found = self._tiers.hot.matrix[rows[rows >= 0]]
        return self._twins.errors(found, twins)

    def states(self) -> Iterator[tuple[Keys, Bytes]]:
        """Users (n,) and rows (n, row_bytes) of all tiers in the order
        of the keys, some at a time.
        """
        return self._tiers.ordered(self._tiers.users())

    def digest(self) -> str:
        """16 hexadecimal digits over position, keys and states in the keys' order:
        how they came about is no matter.
        """
        users = self._tiers.users()
        digest = xxhash.xxh3_64(self._position.to_bytes(8, "little"))
        digest.update(users.data)
        for _, rows in self._tiers.ordered(users):
            digest.update(rows.data)
        return digest.hexdigest()

    def _forget_shadows(self, users: Keys) -> None:
        if self._twins is not None:
            with self._tiers.lock:
                self._twins.forget(users)
