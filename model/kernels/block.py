"""Events side by side: what each needs of its user's ring, and what the front makes of it.

The front of an event depends on the ring alone, not on the recurrence, so the events of a block go
through it together and a weight is read once a block instead of once an event. Each event takes its
copy of the ring before later events of the same user overwrite it.

Letters: see `model.config`; here B is the number of events that a block has room for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.arrays import Floats, Longs, UInts
from model.kernels.compiled import piece
from model.params import FoldParams, Sizes

BLOCK = 16  # events that the fold takes at a time; a multiple of vectors.TILE


class Block(NamedTuple):
    """B events; each row of an array belongs to one."""

    row: Longs  # (B) of its user
    events: Longs  # (B) of its user up to this one
    elapsed_ms: Longs  # (B) since its user's last one
    seed: UInts  # (B) of its roundings
    # (B, K) the ring with the event in it, newest first, min(events, K) of it filled
    items: Longs
    actions: Longs  # (B, K)
    gaps: Longs  # (B, K)
    newest: Floats  # (B, D) input x_t of the event
    front: Floats  # (B, D) what enters the state space
    wide: Floats  # (B, 2F or D)
    narrow: Floats  # (B, F or D)
    mixed: Floats  # (B, E + 2N + H, padded) newest input of the convolution, raw step sizes
    assigned: Floats  # (B, R, padded) logarithms of the weights of the slots
    scales: Floats  # (K) of one event at a time
    scores: Floats  # (heads, K) of one event at a time


def block_for(p: FoldParams, s: Sizes, size: int) -> Block:
    """An empty block for `size` events, a multiple of vectors.TILE."""
    return Block(
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.uint32),
        np.zeros((size, s.K), np.int64),
        np.zeros((size, s.K), np.int64),
        np.zeros((size, s.K), np.int64),
        np.zeros((size, s.D), np.float32),
        np.zeros((size, s.D), np.float32),
        np.zeros((size, max(s.D, 2 * s.F)), np.float32),
        np.zeros((size, max(s.D, s.F)), np.float32),
        np.zeros((size, p.mix.shape[1]), np.float32),
        np.zeros((size, p.assign.shape[1]), np.float32),
        np.zeros(s.K, np.float32),
        np.zeros((s.window_heads, s.K), np.float32),
    )


@piece
def enter(s, at, v, row, b, r):
    """Make the newest event of a row the event r of the block."""
    events = np.int64(v.u32[row, at.events // 4])
    b.row[r] = row
    b.events[r] = events
    for j in range(min(events, s.K)):
        slot = (events - 1 - j) & (s.K - 1)
        b.items[r, j] = v.u32[row, at.ring_items // 4 + slot]
        b.actions[r, j] = v.u8[row, at.ring_actions + slot]
        b.gaps[r, j] = v.u8[row, at.ring_gaps + slot]
