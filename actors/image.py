"""Images: the states of one moment, copied out piece by piece while folding goes on (copy-on-write).

Rows still to be copied are marked, a byte each. Whoever is about to change such a row saves its old bytes first, so an
image stays what it was at its start, and takes memory only for rows that were touched before their turn came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.fair_lock import FairLock
from actors.hot import HotRows
from actors.index import Keys, RowNumbers
from model.state import Rows

PIECE_ROWS = 256  # copied under the lock at a time, about 1 MB
SCAN_ROWS = 1 << 16  # flags looked through at a time, so that a scan does not hold the interpreter for long

Flags = npt.NDArray[np.bool_]
Piece = tuple[Keys, Rows]  # (n,) and (n, row_bytes), n <= PIECE_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class StateImage:
    """The states of one partition and arm as they were at `position`.

    `pieces()` yields users (n,) and their rows (n, row_bytes), each user once, in no particular order, n <= PIECE_ROWS;
    it is to be run through once, in any one thread, and what it yields is the caller's. `close(completed)` ends the
    image, whose pieces may be left over: with True the next delta starts from this image, with False it contains this
    image's changes too, so nothing is forgotten. Closing again does nothing.
    """

    arm: str
    model: str
    schema: str
    position: int
    full: bool  # all users; else those that changed since the last image that was closed as completed
    users: int  # rows that the pieces hold
    row_bytes: int
    pieces: Callable[[], Iterator[Piece]]
    close: Callable[[bool], None]


class OpenImage:
    """What of an image is still to be copied out of `hot`. `lock` guards everything; `pieces` takes it by itself."""

    def __init__(self, hot: HotRows, lock: FairLock, pending: Flags, changed: Flags) -> None:
        self._hot, self._lock = hot, lock
        self._pending = pending  # (rows at the start,): to be copied
        self.changed = changed  # (rows at the start,): what is to be marked again if the image fails
        self._saved: list[Piece] = []  # copied before their turn, each at most PIECE_ROWS
        self._closed = False

    def save(self, rows: RowNumbers) -> None:
        """Keep the bytes of `rows` (n,), n <= PIECE_ROWS, that are about to change, if they are still to be copied."""
        rows = rows[rows < len(self._pending)]
        rows = rows[self._pending[rows]]
        if len(rows):
            self._saved.append(self._copy(np.unique(rows)))

    def pieces(self) -> Iterator[Piece]:
        """All rows as they were at the start. Raises RuntimeError when the image is closed meanwhile."""
        held: list[Piece] = []
        for rows in self._scan():
            with self._lock:
                self._check_open()
                piece = self._copy(rows[self._pending[rows]])
                saved, self._saved = self._saved, []
            if len(piece[0]):
                yield piece
            held += saved
            yield from _merged(held)
        with self._lock:
            self._check_open()
            held += self._saved
            self._saved = []
        yield from _merged(held, rest=True)

    def close(self) -> None:
        """Free what was kept."""
        self._closed, self._saved = True, []

    def _scan(self) -> Iterator[RowNumbers]:
        """Rows that may be pending, PIECE_ROWS at a time; marks are only ever taken away, so no lock is needed."""
        for first in range(0, len(self._pending), SCAN_ROWS):
            found = first + np.flatnonzero(self._pending[first : first + SCAN_ROWS])
            for at in range(0, len(found), PIECE_ROWS):
                yield found[at : at + PIECE_ROWS]

    def _copy(self, rows: RowNumbers) -> Piece:
        piece = self._hot.keys[rows], self._hot.matrix[rows]
        self._pending[rows] = False
        return piece

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the image was closed before all of its rows were taken; take a new one")


def _merged(held: list[Piece], rest: bool = False) -> Iterator[Piece]:
    """Small pieces of `held` put together and taken out of it; less than PIECE_ROWS rows stay there, unless `rest`."""
    while held and (rest or sum(len(users) for users, _ in held[:PIECE_ROWS]) >= PIECE_ROWS):
        sizes = np.cumsum([len(users) for users, _ in held[:PIECE_ROWS]])
        count = int(np.searchsorted(sizes, PIECE_ROWS, side="right"))  # 1 or more, as no piece is larger
        taken = held[:count]
        del held[:count]
        yield np.concatenate([users for users, _ in taken]), np.concatenate([rows for _, rows in taken])
