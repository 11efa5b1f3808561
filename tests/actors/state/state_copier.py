"""Takes images of a store and checks what they hold."""

from __future__ import annotations

import numpy as np

from actors.state.image import Piece
from actors.state.store import PartitionStore

States = dict[int, bytes]


def rows_by_user(pieces: list[Piece]) -> States:
    """The rows of all pieces; no user stands there twice."""
    users = [int(user) for keys, _ in pieces for user in keys]
    assert len(users) == len(set(users))
    return dict(zip(users, (row.tobytes() for _, rows in pieces for row in rows), strict=True))


def states_of(store: PartitionStore) -> States:
    """All states, without bringing anybody back from the cold tier."""
    pieces = [(users.copy(), rows.copy()) for users, rows in store.states()]
    users = np.concatenate([np.empty(0, np.uint64), *(users for users, _ in pieces)])
    assert (users[1:] > users[:-1]).all()
    return rows_by_user(pieces)


class Copier:
    """One image at a time of a store, and `saved`:
    what the chain of completed ones, base and deltas, holds.
    """

    def __init__(self, store: PartitionStore) -> None:
        self.store = store
        self.image = None
        self.saved = States()

    def start(self, full: bool) -> None:
        """Begin an image, unless one is open."""
        if self.image is None:
            self.expected = states_of(self.store)
            self.image = self.store.image("main", full)
            self.taken = list[Piece]()
            self.pieces = self.image.pieces()
            assert self.image.position == self.store.position

    def take(self, count: int) -> None:
        """Take some more pieces of it."""
        for _ in range(count if self.image else 0):
            self.taken += [piece] if (piece := next(self.pieces, None)) else []

    def close(self, completed: bool) -> None:
        """End it; when completed, the chain must hold the states as they were when it began."""
        if self.image is None:
            return
        if completed:
            self.taken += list(self.pieces)
            rows = rows_by_user(self.taken)
            self.saved = rows if self.image.full else self.saved | rows
            assert len(rows) == self.image.users
            assert self.saved == self.expected
        self.image.close(completed)
        self.image = None
