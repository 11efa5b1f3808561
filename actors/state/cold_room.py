"""What fits into the cold tier goes there; who does not fit stays in memory,
above the limit, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from actors.backoff import Backoff
from actors.clock import Clock
from actors.errors import ColdTierError
from actors.state.cold import NOBODY, ColdTier, ColdView
from model.arrays import Bytes, Keys

log = logging.getLogger(__name__)

BACKOFF = Backoff(min_s=1.0, max_s=60.0)  # until a full disk is tried again
# the log says again that it is full, less and less often
REMIND_MIN_S = 60.0
REMIND_MAX_S = 3600.0
DELETED_AT_ONCE = 1024  # copies in one transaction


class ColdRoom:
    """A cold tier that may be full. One thread at a time may change it, with images held off.

    Deleting takes room as well. Who comes back while there is none leaves a copy on disk that
    counts no more: such users are in memory, and each later exchange tries to delete their copies.
    """

    def __init__(self, cold: ColdTier, clock: Clock) -> None:
        self._cold = cold
        self._clock = clock
        # users who are in memory and whose rows on disk are not theirs any more
        self._copies: set[int] = set()
        self._failures = 0  # in a row
        self._retry_at = self._remind_at = self._full_since = 0.0

    def __len__(self) -> int:
        return len(self._cold) - len(self._copies)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self._cold.nbytes

    @property
    def full(self) -> bool:
        """Whether users stay in memory because the disk took no more,
        the last time it was tried.
        """
        return self._failures > 0

    @property
    def may_take(self) -> bool:
        """Whether it is time to move somebody: the disk is not full, or to be tried again."""
        return self._clock.monotonic() >= self._retry_at

    @property
    def owes(self) -> bool:
        """Whether something is to be tried again now, though nobody has to move."""
        return (self.full or bool(self._copies)) and self.may_take

    def get(self, users: Keys) -> tuple[Keys, Bytes]:
        """Those of `users` (n,), none of whom is in memory, that are here, and their rows."""
        return self._cold.get(users)

    def exchange(self, leaving: Keys, rows: Bytes, returned: Keys) -> int:
        """Put as many of `leaving` (n,) as fit, from the first on: how many;
        forget `returned` (m,), now in memory.
        """
        self._copies.update(returned.tolist())
        if not self.may_take:
            return 0
        # their rows are written over, or deleted with the others
        self._copies.difference_update(leaving.tolist())
        gone = _keys(self._copies)[: max(DELETED_AT_ONCE, len(returned))]
        try:
            self._cold.exchange(leaving, rows, gone)
        except ColdTierError as error:
            self._copies.update(self._cold.get(leaving)[0].tolist())
            return self._squeeze(leaving, rows, gone, error)
        self._copies.difference_update(gone.tolist())
        self._has_room()
        return len(leaving)

    def erase(self, user: int) -> None:
        """Delete the user's row, if there is one.

        Raises:
            ColdTierError: the disk is full; the row is still there.
        """
        wanted = np.array([user], dtype=np.uint64)
        if len(self._cold.get(wanted)[0]):
            self._cold.exchange(NOBODY, np.empty((0, 0), np.uint8), wanted)
        self._copies.discard(user)

    def users(self) -> Keys:
        """All users, (n,)."""
        if not len(self._cold):
            return NOBODY
        with closing(self.view()) as view:
            return view.users()

    def view(self) -> ColdView | ViewWithoutCopies:
        """What is here now; to be closed soon."""
        view = self._cold.view()
        return ViewWithoutCopies(view, _keys(self._copies)) if self._copies else view

    def _squeeze(self, leaving: Keys, rows: Bytes, gone: Keys, error: ColdTierError) -> int:
        """What fits of an exchange that does not fit as a whole: deletes first,
        then ever fewer users at once.
        """
        deleted = _in_parts(
            len(gone), lambda part: self._cold.exchange(NOBODY, rows[:0], gone[part])
        )
        put = _in_parts(
            len(leaving), lambda part: self._cold.exchange(leaving[part], rows[part], NOBODY)
        )
        self._copies.difference_update(gone[:deleted].tolist())
        self._copies.difference_update(leaving[:put].tolist())
        if deleted == len(gone) and put == len(leaving):
            self._has_room()
        else:
            self._has_none(error)
        return put

    def _has_room(self) -> None:
        if self.full:
            took_s = self._clock.monotonic() - self._full_since
            log.warning(
                "users leave the memory again, after %.0f s in which the cold tier was full", took_s
            )
        self._failures = 0
        self._retry_at = 0.0

    def _has_none(self, error: ColdTierError) -> None:
        now_s = self._clock.monotonic()
        if not self.full:
            self._full_since = self._remind_at = now_s
        if now_s >= self._remind_at:
            log.error("users stay in memory, above the limit: %s", error)
            self._remind_at = now_s + min(REMIND_MAX_S, max(REMIND_MIN_S, now_s - self._full_since))
        self._failures += 1
        self._retry_at = now_s + BACKOFF.after(self._failures)


class ViewWithoutCopies:
    """A view of the cold tier without those users whose rows there count no more."""

    def __init__(self, view: ColdView, copies: Keys) -> None:
        self._view = view
        self._copies = copies

    def users(self) -> Keys:
        """All keys, ascending, (n,)."""
        return np.setdiff1d(self._view.users(), self._copies)

    def pieces(self, users: Keys | None) -> Iterator[tuple[Keys, Bytes]]:
        """Those of `users` (n,) that are here, or everybody for None, some at a time."""
        for found, rows in self._view.pieces(users):
            stay = ~np.isin(found, self._copies)
            yield found[stay], rows[stay]

    def close(self) -> None:
        """Let the view go."""
        self._view.close()


def _in_parts(users: int, move: Callable[[slice], None]) -> int:
    """Move the first ones of `users`,
    all at once or ever fewer at a time; how many there was room for.
    """
    done = 0
    count = users
    while count and done < users:
        try:
            move(slice(done, done + count))
            done = min(users, done + count)
        except ColdTierError:
            count //= 2
    return done


def _keys(users: set[int]) -> Keys:
    return np.array(list(users), dtype=np.uint64)
