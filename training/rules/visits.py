"""Histories as visits: what belongs together, of a size that neighbours can be found by.

A history of at most EVENTS_MAX events is one visit: many logs have a session for a user, and short
histories say too little to be cut. A longer one is cut where its user stayed away for longer than
PAUSE_MS, if there were EVENTS_MIN events by then, and after EVENTS_MAX events in any case.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.arrays import Longs
from training.data.sequences import Histories
from training.rules.newest import has_own_clocks

EVENTS_MAX = 50
EVENTS_MIN = 5
PAUSE_MS = 86_400_000


class Sets(NamedTuple):
    """Visit p has the items [starts[p], starts[p + 1]), each once; and the other way about."""

    starts: Longs  # (visits + 1,)
    items: Longs  # (k,), ascending within a visit
    item_starts: Longs  # (V + 1,)
    visits: Longs  # (k,), ascending within an item

    def counts(self) -> Longs:
        """Visits (V,) of each item."""
        return np.diff(self.item_starts)


def visit_starts(times_ms: Longs) -> Longs:
    """Where the visits of one user's events (n,) begin."""
    count = len(times_ms)
    if count <= EVENTS_MAX:
        return np.zeros(min(count, 1), dtype=np.int64)
    begins = [0]
    away = (np.diff(times_ms, prepend=times_ms[0]) > PAUSE_MS).tolist()
    for place in range(1, count):
        length = place - begins[-1]
        if length >= EVENTS_MAX or (away[place] and length >= EVENTS_MIN):
            begins.append(place)
    return np.array(begins, dtype=np.int64)


def visits_of(histories: Histories, items: int) -> Sets:
    """The catalogue items of each visit, visits in the order of their ends."""
    starts = np.concatenate(
        [
            start + visit_starts(histories.times_ms[start:stop])
            for start, stop in zip(
                histories.starts[:-1].tolist(), histories.starts[1:].tolist(), strict=True
            )
        ]
        or [np.zeros(0, dtype=np.int64)]
    )
    ends = np.append(starts, len(histories.items))[1:] - 1
    order = np.arange(len(ends))
    if not has_own_clocks(histories):
        order = np.argsort(histories.times_ms[ends], kind="stable")
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    whose = np.repeat(number, ends + 1 - starts)
    known = histories.items < items
    pairs = np.unique(whose[known] * items + histories.items[known])
    whose = pairs // items
    rows = pairs % items
    by_item = np.argsort(rows, kind="stable")
    return Sets(
        starts=np.searchsorted(whose, np.arange(len(order) + 1)),
        items=rows,
        item_starts=np.searchsorted(rows[by_item], np.arange(items + 1)),
        visits=whose[by_item],
    )
