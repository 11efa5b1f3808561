"""A few users whose states are also kept unrounded, to measure what int8 costs while it serves.

A twin folds the same events as its user's row, in float32. A user who has a state when the twin
begins lends it that state, so the error counts what rounding did since then; what was before fades
as events pass.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Bytes, Floats, Keys, Longs
from model.bundle.bundle import Bundle
from model.kernels.read import Reading
from model.params import EPSILON
from model.state import widen, zeros

TWINS_MAX = 8  # of one partition and arm: 90 KB at the default size


class Twins:
    """Float32 copies of one in `one_in` users of one partition and arm,
    the first TWINS_MAX of them to come.

    Guarded by the store's lock, but for `errors`. Whether a user is sampled depends on the user's
    key alone, so all arms watch the same users, after a restart too.
    """

    def __init__(self, bundle: Bundle, one_in: int) -> None:
        self._bundle = bundle
        self._exact = bundle.unrounded()
        self._one_in = np.uint64(one_in)
        self._rows = zeros(self._exact.config, TWINS_MAX)
        self._place: dict[int, int] = {}

    @classmethod
    def of(cls, bundle: Bundle, one_in: int) -> Twins | None:
        """Twins, unless nobody is to be sampled or nothing is rounded."""
        return cls(bundle, one_in) if one_in and bundle.config.state_dtype == "int8" else None

    @property
    def users(self) -> Keys:
        """Who has a twin, (n,)."""
        return np.array(list(self._place), dtype=np.uint64)

    def fold(
        self,
        matrix: Bytes,  # (capacity, row_bytes), before these events
        rows: Longs,  # (n,)
        users: Keys,  # (n,)
        items: Longs,  # (n,) item rows
        actions: Bytes,  # (n,) action ids
        times_ms: Longs,  # (n,)
        offsets: Longs,  # (n,)
    ) -> None:
        """Fold the sampled users' events;
        to be called before the rows are changed by the same events.
        """
        sampled = np.flatnonzero(users % self._one_in == 0)
        if not len(sampled):
            return
        for at in sampled.tolist():
            self._adopt(int(users[at]), matrix[rows[at]])
        known = np.array(
            [at for at in sampled.tolist() if int(users[at]) in self._place], dtype=np.int64
        )
        index = np.array([self._place[int(user)] for user in users[known]], dtype=np.int64)
        self._exact.fold(
            self._rows,
            index,
            users[known],
            items[known],
            actions[known],
            times_ms[known],
            offsets[known],
        )

    def forget(self, users: Keys) -> None:
        """Let go of these users (n,), whose rows changed by other means than events."""
        for user in set(users.tolist()) & self._place.keys():
            del self._place[user]

    def copies(self, users: Keys) -> Bytes:
        """The twins of users (n,) who have one, (n, float32 row bytes)."""
        return self._rows[[self._place[int(user)] for user in users]]

    def errors(self, rows: Bytes, twins: Bytes) -> list[float]:
        """Relative error of each row (n, row_bytes) against its twin:
        the larger one of sequence state and slots.
        """
        pairs = zip(rows, twins, strict=True)
        return [_error(self._bundle.read(row), self._exact.read(twin)) for row, twin in pairs]

    def _adopt(self, user: int, row: Bytes) -> None:
        if user in self._place or len(self._place) == TWINS_MAX:
            return
        place = min(set(range(TWINS_MAX)) - set(self._place.values()))
        self._place[user] = place
        self._rows[place] = widen(row, self._bundle.config)


def _error(rounded: Reading | None, exact: Reading | None) -> float:
    assert rounded is not None
    assert exact is not None
    return max(
        _relative(rounded.sequence, exact.sequence),
        _relative(
            rounded.cache / (rounded.mass + EPSILON)[:, None],
            exact.cache / (exact.mass + EPSILON)[:, None],
        ),
    )


def _relative(rounded: Floats, exact: Floats) -> float:
    return float(np.linalg.norm(rounded - exact) / max(float(np.linalg.norm(exact)), 1e-12))
