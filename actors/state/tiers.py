"""Where the users of one partition and arm are: in memory,
or on disk where the memory has no room for them.

A user is in exactly one tier, but for the moments of a move. Moves are the writer's, and made
outside the lock, so that readers do not wait for the disk: whoever leaves is put on the disk before
the row is dropped, and whoever comes back has a row before the disk forgets. So a reader, who looks
in memory first, always finds the user. Images, which must not find a user twice, are kept out by a
second lock, `moving`, taken before `lock`.

Whom the disk has no room for stays in memory: a full disk stops nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from actors.clock import Clock
from actors.locks import FairLock
from actors.state.cold import NOBODY, ColdTier
from actors.state.cold_room import ColdRoom
from actors.state.eviction import LeastRecentlyUsed
from actors.state.image import PIECE_ROWS, OpenImage, Piece
from actors.state.index import ROWS_MAX
from actors.state.rows import HotRows
from model.arrays import Bytes, Keys, Longs

TICKS_PER_S = 10  # so that a count of 32 bits lasts 13 years
MOVED_AT_ONCE = 1024  # users on their way to the disk in one transaction
# and beyond those who come, of those whom a full disk had left in memory
CAUGHT_UP_AT_ONCE = 4 * MOVED_AT_ONCE
TICK_MAX = 2**32 - 1
ORDERED_AT_ONCE = 1024
DROPPED_AT_ONCE = 256  # rows dropped under the lock
# users of the cold tier who were asked for and wait for the writer to bring them back
ASKED_MAX = 256

OnEvicted = Callable[[str, int], None]  # reason, users


class Tiers:
    """The rows of all users. `lock` guards what has no other remark;
    the writer's methods take it by themselves.
    """

    def __init__(
        self,
        hot: HotRows,
        cold: ColdTier | None,
        users_hot_max: int | None,
        clock: Clock,
        on_evicted: OnEvicted | None,
        new_lock: Callable[[], FairLock] = FairLock,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self.hot = hot
        self.cold = None if cold is None else ColdRoom(cold, clock)
        self._capacity = ROWS_MAX if users_hot_max is None else users_hot_max
        self._clock = clock
        self._started_s = clock.monotonic()
        self._on_evicted = on_evicted
        self.lock = new_lock()
        self._moving = new_lock()
        self._piece_rows = piece_rows
        self._least_recent = LeastRecentlyUsed(hot)
        # users of the cold tier who changed since the last image
        self._cold_changed: set[int] = set()
        self._asked: set[int] = set()
        self._image: OpenImage | None = None
        self._now = 0  # the tick of the last `admit` or `enter`

    def __len__(self) -> int:
        return len(self.hot) + self.users_cold

    @property
    def users_cold(self) -> int:
        """Users on disk."""
        return 0 if self.cold is None else len(self.cold)

    def rows_to_change(self, users: Keys) -> Longs:
        """The rows of users (n,) after `admit`, new ones included,
        marked and free to be changed; under the lock.
        """
        rows = self.hot.add(users)
        if self._image is not None:
            self._image.save(rows)
        self.hot.changed[rows] = True
        if self.cold is not None:
            self.hot.used[rows] = self._now
        return rows

    def find(self, user: int) -> Bytes | None:
        """A copy of the user's row (row_bytes,), from either tier; under the lock."""
        wanted = np.array([user], dtype=np.uint64)
        found = self.hot.matrix[:0]
        if (rows := self.hot.rows_of(wanted))[0] >= 0:
            self.hot.used[rows] = self._tick()
            found = self.hot.matrix[rows]
        elif (
            self.cold is not None
            and len(found := self.cold.get(wanted)[1])
            and len(self._asked) < ASKED_MAX
        ):
            self._asked.add(user)
        return next(iter(found), None)

    def admit(self, users: Keys) -> None:
        """Bring back who is among `users` (n,) or was asked for,
        and make room for the rest; the writer's.

        Who finds no room on the disk stays in memory, above the limit.
        """
        if self.cold is not None:
            self._now = self._tick()
            rows = self.hot.rows_of(users)
            if (
                self._asked
                or len(self.hot) > self._capacity
                or rows.min(initial=0) < 0
                or self.cold.owes
            ):
                absent = np.unique(users[rows < 0])
                returning = self._returning(
                    absent, 0 if self.cold.full else self._capacity - len(users)
                )
                new = len(absent) - int(np.isin(absent, returning[0]).sum())
                leaving = self._leaving(len(returning[0]) + new, users)
                if len(returning[0]) or len(leaving) or self.cold.owes:
                    self._exchange(leaving, returning, "memory")
        self.hot.reserve(len(users))

    def enter(self, users: Keys, rows: Bytes) -> None:
        """Set the rows (n, row_bytes) of users (n,),
        none of them twice, as unchanged; the writer's.

        New users go to the disk when the memory is full, as long as there is room; others stay
        where they are.
        """
        here = np.ones(len(users), dtype=np.bool_)
        self._now = self._tick()
        if self.cold is not None:
            here = self.hot.rows_of(users) >= 0
            new = np.flatnonzero(~here & ~np.isin(users, self.cold.get(users[~here])[0]))
            here[new[: max(0, self._capacity - len(self.hot))]] = True
        self.hot.reserve(len(users))
        with self._moving:
            if self.cold is not None and not here.all():
                outside = np.flatnonzero(~here)
                here[outside[self.cold.exchange(users[outside], rows[outside], NOBODY) :]] = True
            with self.lock:
                numbers = self.rows_to_change(users[here])
                self.hot.matrix[numbers] = rows[here]
                self.hot.changed[numbers] = False
                self._cold_changed.difference_update(users.tolist())

    def evict_idle(self, idle_s: float) -> int:
        """Move some users who were not used for `idle_s` seconds to the disk, for the writer.

        How many: 0 when all have, or when the disk has no room for more, who stay in memory.
        """
        if self.cold is None or not self.cold.may_take:
            return 0
        leaving = self._least_recent.unused_since(
            self._tick() - int(idle_s * TICKS_PER_S), MOVED_AT_ONCE
        )
        if not len(leaving) and not self.cold.owes:
            return 0
        return self._exchange(leaving, (NOBODY, self.hot.matrix[:0]), "idle")

    def erase(self, user: int) -> Bytes | None:
        """Forget the user; the last state, (row_bytes,); the writer's.

        Raises:
            ColdTierError: the disk is full; the user is still there.
        """
        wanted = np.array([user], dtype=np.uint64)
        with self._moving:
            with self.lock:
                row = self.find(user)
            if self.cold is not None:
                self.cold.erase(user)
            with self.lock:
                if self._image is not None:
                    self._image.erase(user)
                self._forget(wanted[self.hot.rows_of(wanted) >= 0])
                self._cold_changed.discard(user)
                self._asked.discard(user)
        return row

    def users(self) -> Keys:
        """All users, ascending, (n,); with the writer paused."""
        if self.cold is None:
            return np.sort(self.hot.keys)
        return np.sort(np.concatenate([self.hot.keys, self.cold.users()]))

    def ordered(self, users: Keys) -> Iterator[Piece]:
        """The rows of `users` (n,), some at a time, in their order;
        with the writer paused. Nobody changes tiers.
        """
        for first in range(0, len(users), ORDERED_AT_ONCE):
            part = users[first : first + ORDERED_AT_ONCE]
            numbers = self.hot.rows_of(part)
            rows = self.hot.matrix[numbers]
            if self.cold is not None and (absent := numbers < 0).any():
                rows[absent] = self.cold.get(part[absent])[1]
            yield part, rows

    @contextmanager
    def still(self) -> Iterator[None]:
        """Hold off moves and changes."""
        with self._moving, self.lock:
            yield

    def open(self, full: bool) -> OpenImage:
        """Begin an image; with everything `still`."""
        if self._image is not None:
            raise RuntimeError(
                "an image of this store is open already; close it before taking another"
            )
        view = self.cold.view() if self.cold is not None and len(self.cold) else None
        self._image = OpenImage(
            self.hot, view, self.users_cold, self._cold_changed, self.lock, full, self._piece_rows
        )
        self._cold_changed = set()
        return self._image

    def close(self, image: OpenImage, completed: bool) -> None:
        """End the image, if it is still open; unless it is completed,
        its changes count as changes again.
        """
        with self.still():
            if self._image is not image:
                return
            self._image = None
            image.close()
            if not completed:
                self.hot.changed[: len(image.changed)] |= image.changed
                users = np.array(list(image.cold_changed), dtype=np.uint64)
                rows = self.hot.rows_of(users)
                self.hot.changed[rows[rows >= 0]] = True
                self._cold_changed.update(users[rows < 0].tolist())

    def _returning(self, absent: Keys, room: int) -> Piece:
        """Who of `absent` (n,) is on disk, and of those who were asked for as many as `room`."""
        assert self.cold is not None
        if self._asked:
            with self.lock:
                asked = np.array(list(self._asked), dtype=np.uint64)
                self._asked.clear()
            asked = asked[self.hot.rows_of(asked) < 0]
            absent = np.union1d(absent, asked[: max(0, room)])
        return self.cold.get(absent)

    def _leaving(self, coming: int, spared: Keys) -> Keys:
        """Who has to leave, without `spared` (n,), when so many come."""
        assert self.cold is not None
        excess = min(len(self.hot) + coming - self._capacity, coming + CAUGHT_UP_AT_ONCE)
        if excess <= 0 or not self.cold.may_take:
            return NOBODY
        return self._least_recent.choose(
            max(excess, min(MOVED_AT_ONCE, self._capacity // 8)), spared
        )

    def _exchange(self, leaving: Keys, returning: Piece, reason: str) -> int:
        """Bring back who is `returning`,
        and move who of `leaving` finds room on the disk; how many did.
        """
        assert self.cold is not None
        users = returning[0]
        self.hot.reserve(len(users))
        with self._moving:
            with self.lock:
                rows = self.hot.add(users)
                self.hot.matrix[rows] = returning[1]
                self.hot.used[rows] = self._tick()
                self.hot.changed[rows] = [user in self._cold_changed for user in users.tolist()]
                self._cold_changed.difference_update(users.tolist())
            moved = self.cold.exchange(leaving, self.hot.matrix[self.hot.rows_of(leaving)], users)
            self._forget_all(leaving[:moved])
        self.hot.release()
        if self._on_evicted is not None and moved:
            self._on_evicted(reason, moved)
        return moved

    def _forget_all(self, users: Keys) -> None:
        for first in range(0, len(users), DROPPED_AT_ONCE):
            with self.lock:
                self._forget(users[first : first + DROPPED_AT_ONCE])

    def _forget(self, users: Keys) -> None:
        """Drop the rows of `users` (n,), who are on disk; under the lock."""
        rows = self.hot.rows_of(users)
        if self._image is not None:
            self._image.vacate(
                np.concatenate([rows, np.arange(len(self.hot) - len(rows), len(self.hot))])
            )
        self._cold_changed.update(users[self.hot.changed[rows]].tolist())
        self.hot.drop(rows)

    def _tick(self) -> int:
        return min(int((self._clock.monotonic() - self._started_s) * TICKS_PER_S), TICK_MAX)
