"""Images: the states of one moment,
copied out piece by piece while folding goes on (copy-on-write).

Rows still to be copied are marked, a byte each. Whoever is about to change such a row saves its old
bytes first, so an image stays what it was at its start, and takes memory only for rows that were
touched before their turn came. What was in the cold tier at the start is read from a view of that
moment, wherever its users are now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from actors.locks import FairLock
from actors.state.cold import ColdView
from actors.state.cold_room import ViewWithoutCopies
from actors.state.rows import HotRows
from model.arrays import Bools, Bytes, Keys, Longs

PIECE_ROWS = 256  # copied under the lock at a time, about 1 MB
# flags looked through at a time, so that a scan does not hold the interpreter for long
SCAN_ROWS = 1 << 16

Piece = tuple[Keys, Bytes]  # (n,) and (n, row_bytes), n <= PIECE_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class StateImage:
    """The states of one partition and arm as they were at `position`.

    `pieces()` yields users (n,) and their rows (n, row_bytes), each user once, in no particular
    order, n <= PIECE_ROWS; it is to be run through once, in any one thread, and what it yields
    stays as it is. `close(completed)` ends the image, whose pieces may be left over: with True the
    next delta starts from this image, with False it contains this image's changes too, so nothing
    is forgotten. Closing again does nothing.

    A user who is erased meanwhile is left out of the pieces that are still to come; earlier ones
    may hold the user.
    """

    arm: str
    model: str
    schema: str
    position: int
    # all users; else those that changed since the last image that was closed as completed
    full: bool
    users: int  # rows that the pieces hold, unless users are erased meanwhile
    row_bytes: int
    pieces: Callable[[], Iterator[Piece]]
    close: Callable[[bool], None]


class OpenImage:
    """What of an image is still to be copied.
    `lock` guards everything; `pieces` takes it by itself.
    """

    def __init__(
        self,
        hot: HotRows,
        cold: ColdView | ViewWithoutCopies | None,
        users_cold: int,
        cold_changed: set[int],
        lock: FairLock,
        full: bool,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self._piece_rows = piece_rows
        self._hot = hot
        self._cold = cold
        self._lock = lock
        self._full = full
        # What counts as changed again if the image fails: rows (capacity at the start,), and users
        # of the cold tier.
        self.changed = hot.changed
        self.cold_changed = cold_changed
        hot.changed = np.zeros(len(self.changed), dtype=np.bool_)
        self._pending: Bools = (
            np.ones(len(hot), np.bool_) if full else self.changed[: len(hot)].copy()
        )
        self.users = int(np.count_nonzero(self._pending)) + (
            users_cold if full else len(cold_changed)
        )
        self._saved: list[Piece] = []  # copied before their turn, each at most `piece_rows`
        self._erased: set[int] = set()
        self._closed = False

    def save(self, rows: Longs) -> None:
        """Keep the bytes of `rows` (n,), which are about to change,
        if they are still to be copied.
        """
        rows = rows[rows < len(self._pending)]
        rows = rows[self._pending[rows]]
        if len(rows):
            rows = np.unique(rows)
            for first in range(0, len(rows), self._piece_rows):
                self._saved.append(self._copy(rows[first : first + self._piece_rows]))

    def vacate(self, rows: Longs) -> None:
        """Free `rows` (n,), whose users are about to leave them, of the image:
        saved, and their marks given back.
        """
        self.save(rows)
        rows = rows[rows < len(self.changed)]
        self._hot.changed[rows] |= self.changed[rows]
        self.changed[rows] = False

    def erase(self, user: int) -> None:
        """Leave the user out from now on."""
        self._erased.add(user)
        self.cold_changed.discard(user)

    def pieces(self) -> Iterator[Piece]:
        """All rows as they were at the start.
        Raises RuntimeError when the image is closed meanwhile.
        """
        for piece in self._hot_pieces():
            yield self._without_erased(piece)
        if self._cold is None:
            return
        chosen = None if self._full else np.array(list(self.cold_changed), dtype=np.uint64)
        for piece in self._cold.pieces(chosen):
            self._check_open()
            yield self._without_erased(piece)

    def close(self) -> None:
        """Free what was kept."""
        self._closed = True
        self._saved = []
        if self._cold is not None:
            self._cold.close()

    def _hot_pieces(self) -> Iterator[Piece]:
        held: list[Piece] = []
        for rows in self._scan():
            with self._lock:
                self._check_open()
                piece = self._copy(rows[self._pending[rows]])
                saved = self._saved
                self._saved = []
            if len(piece[0]):
                yield piece
            held += saved
            yield from _merged(held, self._piece_rows)
        with self._lock:
            self._check_open()
            held += self._saved
            self._saved = []
        yield from _merged(held, self._piece_rows, rest=True)

    def _scan(self) -> Iterator[Longs]:
        """Rows that may be pending, `piece_rows` at a time;
        marks are only ever taken away, so no lock is needed.
        """
        for first in range(0, len(self._pending), SCAN_ROWS):
            # Of a copy: flatnonzero counts, then fills, and leaves rubbish where marks vanish
            # between the two.
            found = first + np.flatnonzero(self._pending[first : first + SCAN_ROWS].copy())
            for at in range(0, len(found), self._piece_rows):
                yield found[at : at + self._piece_rows]

    def _copy(self, rows: Longs) -> Piece:
        piece = self._hot.keys[rows], self._hot.matrix[rows]
        self._pending[rows] = False
        return piece

    def _without_erased(self, piece: Piece) -> Piece:
        if not self._erased:
            return piece
        stay = ~np.isin(piece[0], np.array(list(self._erased), dtype=np.uint64))
        return piece[0][stay], piece[1][stay]

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(
                "the image was closed before all of its rows were taken; take a new one"
            )


def _merged(held: list[Piece], piece_rows: int, rest: bool = False) -> Iterator[Piece]:
    """Small pieces of `held` put together and taken out of it;
    less than `piece_rows` rows stay there, unless `rest`.
    """
    while held and (rest or sum(len(users) for users, _ in held[:piece_rows]) >= piece_rows):
        sizes = np.cumsum([len(users) for users, _ in held[:piece_rows]])
        # 1 or more, as no piece is larger
        count = int(np.searchsorted(sizes, piece_rows, side="right"))
        taken = held[:count]
        del held[:count]
        yield (
            np.concatenate([users for users, _ in taken]),
            np.concatenate([rows for _, rows in taken]),
        )
