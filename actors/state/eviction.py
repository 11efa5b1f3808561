"""Which users leave the memory first: the least recently used."""

from __future__ import annotations

import numpy as np

from actors.state.rows import HotRows
from model.arrays import Keys, UInts

SHARE = 8  # an eighth of the users are ranked at once, so that a choice costs little


class LeastRecentlyUsed:
    """Chooses users of `hot` to leave. For the writer alone, beside readers:
    a use meanwhile may be overlooked.

    Ranking looks at all rows, so it is done for many users at once, who then wait in a queue. Those
    who were used since, or have gone, are passed over when their turn comes.
    """

    def __init__(self, hot: HotRows) -> None:
        self._hot = hot
        self._keys: Keys = np.empty(0, dtype=np.uint64)  # the queue
        # when they had been used as they were ranked
        self._used: UInts = np.empty(0, dtype=np.uint32)

    def choose(self, count: int, spared: Keys) -> Keys:
        """The `count` users who were not used for longest, without `spared` (n,);
        fewer only if there are no more.
        """
        chosen = self._take(count, spared)
        if len(chosen) < count:
            self._rank(max(count + len(spared), len(self._hot) // SHARE))
            chosen = self._take(count, spared)
        return chosen

    def unused_since(self, tick: int, count_max: int) -> Keys:
        """Up to `count_max` users who were not used after `tick`."""
        used = self._hot.used[: len(self._hot)]
        return self._hot.keys[np.flatnonzero(used <= tick)[:count_max]]

    def _take(self, count: int, spared: Keys) -> Keys:
        window = 2 * count + len(spared)
        keys = self._keys[:window]
        used = self._used[:window]
        rows = self._hot.rows_of(keys)
        stay = (rows >= 0) & ~np.isin(keys, spared)
        stay[stay] = self._hot.used[rows[stay]] == used[stay]
        chosen = np.flatnonzero(stay)[:count]
        end = int(chosen[-1]) + 1 if len(chosen) == count else window
        self._keys = self._keys[end:]
        self._used = self._used[end:]
        return keys[chosen]

    def _rank(self, count: int) -> None:
        used = self._hot.used[: len(self._hot)].copy()
        count = min(count, len(used))
        rows = np.argpartition(used, count - 1)[:count]
        rows = rows[np.argsort(used[rows], kind="stable")]
        self._keys = self._hot.keys[rows]
        self._used = used[rows]
