"""Made-up logs of any number of items, in which the next item can be learned.

Items are numbered by frequency, which falls as 1 / (rank + 10)^0.8, and stand in blocks of BLOCK
neighbours. After an item a user goes with FOLLOWED to the next one of its block, with WANDERED to
any of its block, else to any item by frequency. So whoever knows the blocks' order beats whoever
knows frequencies alone, and an item that the log hardly has cannot be learned, as in real ones.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Longs
from training.data.sequences import Histories

BLOCK = 20
FOLLOWED = 0.5
WANDERED = 0.2
START_MS = 1_700_000_000_000


def walks(items: int, users: int, length: int, seed: int = 0) -> Histories:
    """`users` histories of `length` events each, a minute apart, over `items` items."""
    random = np.random.default_rng(seed)
    frequency = 1.0 / (np.arange(items) + 10.0) ** 0.8
    summed = np.cumsum(frequency / frequency.sum())
    found = np.empty((users, length), dtype=np.int64)
    found[:, 0] = _by_frequency(summed, users, random)
    for step in range(1, length):
        found[:, step] = _next(found[:, step - 1], summed, random)
    return Histories(
        users=tuple(f"user-{user}" for user in range(users)),
        items=found.ravel(),
        actions=np.zeros(users * length, dtype=np.int64),
        times_ms=np.tile(START_MS + 60_000 * np.arange(length, dtype=np.int64), users),
        starts=np.arange(users + 1, dtype=np.int64) * length,
    )


def _next(last: Longs, summed: np.ndarray, random: np.random.Generator) -> Longs:
    items = len(summed)
    first = last - last % BLOCK
    size = np.minimum(BLOCK, items - first)
    follower = first + (last - first + 1) % size
    neighbour = first + np.floor(random.random(len(last)) * size).astype(np.int64)
    kind = random.random(len(last))
    moved = np.where(kind < FOLLOWED, follower, neighbour)
    return np.where(
        kind < FOLLOWED + WANDERED, moved, _by_frequency(summed, len(last), random)
    ).astype(np.int64)


def _by_frequency(summed: np.ndarray, count: int, random: np.random.Generator) -> Longs:
    drawn = np.searchsorted(summed, random.random(count) * summed[-1], side="right")
    return np.minimum(drawn, len(summed) - 1).astype(np.int64)
