"""Shipped states before held-out events, all users folded at once: as many users as a study has
take minutes instead of hours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xxhash

from model.arrays import Bytes, Keys, Longs
from model.bundle.bundle import Bundle
from model.state import zeros
from training.data.sequences import UNKNOWN, Held, Histories
from training.measure.ranking import Ranking
from training.measure.served import places


def rank_served(bundle: Bundle, held: Held) -> Ranking:
    """Rank each held-out catalogue event as `Recommend` lists it,
    by the states that the shipped fold left before it.

    Raises:
        TrainingError: there is nothing to rank.
    """
    histories = held.histories
    return Ranking.listed(
        places(bundle, row, int(histories.items[target]), int(histories.times_ms[target]))
        for target, row in walk_together(bundle, held)
    )


def walk_together(bundle: Bundle, held: Held) -> Iterator[tuple[int, Bytes]]:
    """Each held-out catalogue event, a flat position, with its user's state (row_bytes,) right
    before it; every user's first, then every user's second, and so on.

    All users' events up to their next held-out one are folded together. The rows are the same
    memory each time: copy what you keep.
    """
    histories = held.histories
    items = len(bundle.items)
    users = np.flatnonzero(held.tails)
    keys = np.array(
        [xxhash.xxh64_intdigest(histories.users[user].encode()) for user in users], dtype=np.uint64
    )
    rows = zeros(bundle.config, len(users))
    folded = histories.starts[users]
    ends = histories.starts[users + 1]
    for turn in range(int(held.tails.max(initial=0))):
        asking = np.flatnonzero(held.tails[users] > turn)  # places in `users` and `rows`
        targets = ends[asking] - held.tails[users[asking]] + turn
        _fold_many(bundle, rows, histories, asking, keys[asking], folded[asking], targets)
        folded[asking] = targets
        known = histories.items[targets] < items
        for row, target in zip(asking[known].tolist(), targets[known].tolist(), strict=True):
            yield target, rows[row]


def _fold_many(
    bundle: Bundle,
    rows: Bytes,
    histories: Histories,
    index: Longs,
    keys: Keys,
    starts: Longs,
    stops: Longs,
) -> None:
    """Fold the flat events [start, stop) of each user with a row in
    `index`, one user after the other.
    """
    counts = stops - starts
    place = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    known = histories.actions[place] != UNKNOWN
    place = place[known]
    bundle.fold(
        rows,
        np.repeat(index, counts)[known],
        np.repeat(keys, counts)[known],
        histories.items[place],
        histories.actions[place].astype(np.uint8),
        histories.times_ms[place],
        place,
    )
