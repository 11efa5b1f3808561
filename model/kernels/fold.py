"""state' = fold(params, state, event), compiled: events in log order, a block of them at a time.

Results depend on nothing but the parameters and the user's events in order: not on how a log was
cut into batches or blocks, not on threads, not on the machine (no libm, no fast-math, a fixed order
of operations). `model.network.reference` is the definition.

1. Ring, event by event: the event takes the place of the oldest, whose item goes to the seen tail
   as a fingerprint.
2. Front, all events of the block together: `model.kernels.front`.
3. State, event by event: `model.kernels.state_update`.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Bytes, Keys, Longs
from model.kernels.block import BLOCK, block_for, enter
from model.kernels.compiled import kernel, piece
from model.kernels.drive import scratch_for
from model.kernels.front import compute_front
from model.kernels.quantize import seed_of
from model.kernels.state_update import update_states
from model.params import FoldParams, Sizes
from model.state import RowViews, StateLayout

FINGERPRINT = 0xFFFF


def fold_events(
    p: FoldParams,
    s: Sizes,
    at: StateLayout,
    v: RowViews,
    index: Longs,
    users: Keys,
    items: Longs,
    actions: Bytes,
    times_ms: Longs,
    offsets: Longs,
) -> None:
    """Apply n events in order to the rows that `index` names; changes the rows in place."""
    b = block_for(p, s, BLOCK)
    w = scratch_for(s)
    fold_blocks(p, s, at, v, index, users, items, actions, times_ms, offsets, b, w)


@kernel
def fold_blocks(p, s, at, v, index, users, items, actions, times_ms, offsets, b, w):
    """`fold_events` with the block and the working memory that it needs."""
    n = 0
    for i in range(len(index)):
        elapsed_ms = _push(s, at, v, index[i], items[i], actions[i], times_ms[i])
        if elapsed_ms >= 0:
            b.elapsed_ms[n] = elapsed_ms
            b.seed[n] = seed_of(users[i], offsets[i])
            enter(s, at, v, index[i], b, n)
            n += 1
        if n == len(b.row) or i == len(index) - 1:
            compute_front(p, s, b, n)
            update_states(p, s, at, v, b, n, w)
            n = 0


@piece
def _push(s, at, v, row, item, action, time_ms):
    """Put the event into header, ring and tail;
    returns the time since the last event, -1 for a dropped duplicate.
    """
    events = np.int64(v.u32[row, at.events // 4])
    last_ms = v.i64[row, at.last_time // 8]
    if s.drop_duplicates and _is_duplicate(s, at, v, row, events, item, action, time_ms):
        return np.int64(-1)
    slot = events & (s.K - 1)
    if events >= s.K:
        left = v.u32[row, at.ring_items // 4 + slot]
        v.u16[row, at.tail // 2 + ((events - s.K) & (s.T - 1))] = np.uint16(
            left & np.uint32(FINGERPRINT)
        )
    elapsed_ms = np.int64(0)
    gap = np.int64(s.G - 1)
    if events > 0:
        elapsed_ms = max(time_ms - last_ms, np.int64(0))
        gap = np.int64(0)
        seconds = elapsed_ms // 1000
        while seconds > 0 and gap < s.G - 2:
            seconds >>= 1
            gap += 1
    v.u32[row, at.ring_items // 4 + slot] = np.uint32(item)
    if s.drop_duplicates:
        v.u32[row, at.ring_times // 4 + slot] = np.uint32(time_ms & 0xFFFFFFFF)
    v.u8[row, at.ring_actions + slot] = np.uint8(action)
    v.u8[row, at.ring_gaps + slot] = np.uint8(gap)
    v.i64[row, at.last_time // 8] = max(time_ms, last_ms) if events > 0 else time_ms
    v.u32[row, at.events // 4] = np.uint32(events + 1)
    return elapsed_ms


@piece
def _is_duplicate(s, at, v, row, events, item, action, time_ms):
    for slot in range(min(events, s.K)):
        same_item = v.u32[row, at.ring_items // 4 + slot] == np.uint32(item)
        same_time = v.u32[row, at.ring_times // 4 + slot] == np.uint32(time_ms & 0xFFFFFFFF)
        if same_item and same_time and v.u8[row, at.ring_actions + slot] == action:
            return True
    return False
