"""state' = fold(params, state, event), compiled: one event of one user at a time, in log order.

Results depend on nothing but the parameters and the user's events in order: not on how a log was cut into batches,
not on threads, not on the machine (no libm, no fast-math, a fixed order of operations). `model.reference` is the
definition.

1. Ring: the event takes the place of the oldest, whose item goes to the seen tail as a fingerprint.
2. Front and drive: `model.front`.
3. Convolution tail, state space, echo, slots: decay goes into the scales, the event's part is added and rounded.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from model.elementary import exp
from model.front import Scratch, compute_drive, compute_front, scratch_for, softmax
from model.lanes import fill, matvec
from model.quantize import LARGEST, LARGEST_16, centre, largest, raise_to, seed_of, store, store_scaled

_ZERO, _ONE = np.float32(0), np.float32(1)
_FADED = np.float32(1e-25)
_THOUSANDTH = np.float32(0.001)
FINGERPRINT = 0xFFFF


@njit(cache=True, nogil=True, error_model="numpy")
def fold_events(p, s, at, v, index, users, items, actions, times_ms, offsets):
    """Apply n events in order to the rows that `index` names; changes the rows in place."""
    w = Scratch(*scratch_for(s))
    for i in range(len(index)):
        row = index[i]
        elapsed_ms = _push(s, at, v, row, items[i], actions[i], times_ms[i])
        if elapsed_ms < 0:
            continue
        events = np.int64(v.u32[row, at.events // 4])
        seed = seed_of(users[i], offsets[i])
        compute_front(p, s, at, v, row, events, w)
        compute_drive(p, s, at, v, row, events, w)
        _store_conv(s, at, v, row, events, w, seed)
        if s.scalar:
            _update_scalar(s, at, v, row, w, seed)
        else:
            _update_diagonal(p, s, at, v, row, w, seed)
        if s.echo:
            _update_echo(p, s, at, v, row, w, seed)
        _update_slots(p, s, at, v, row, elapsed_ms, w, seed)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _push(s, at, v, row, item, action, time_ms):
    """Put the event into header, ring and tail; returns the time since the last event, -1 for a dropped duplicate."""
    events, last_ms = np.int64(v.u32[row, at.events // 4]), v.i64[row, at.last_time // 8]
    if s.drop_duplicates and _is_duplicate(s, at, v, row, events, item, action, time_ms):
        return np.int64(-1)
    slot = events & (s.K - 1)
    if events >= s.K:
        left = v.u32[row, at.ring_items // 4 + slot]
        v.u16[row, at.tail // 2 + ((events - s.K) & (s.T - 1))] = np.uint16(left & np.uint32(FINGERPRINT))
    elapsed_ms, gap = np.int64(0), np.int64(s.G - 1)
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


@njit(forceinline=True, nogil=True, error_model="numpy")
def _is_duplicate(s, at, v, row, events, item, action, time_ms):
    for slot in range(min(events, s.K)):
        same_item = v.u32[row, at.ring_items // 4 + slot] == np.uint32(item)
        same_time = v.u32[row, at.ring_times // 4 + slot] == np.uint32(time_ms & 0xFFFFFFFF)
        if same_item and same_time and v.u8[row, at.ring_actions + slot] == action:
            return True
    return False


@njit(forceinline=True, nogil=True, error_model="numpy")
def _store_conv(s, at, v, row, events, w, seed):
    """Keep the newest input of the convolution, for the next W - 1 events and for the reader."""
    channels, entry = s.E + 2 * s.N, (events - 1) % s.W
    if not s.int8:
        for c in range(channels):
            v.f32[row, at.conv // 4 + entry * channels + c] = w.mixed[c]
        return
    factor, scale = centre(largest(w.mixed, 0, channels), _ONE, LARGEST)
    store_scaled(w.mixed, factor, channels, v.i8, row, at.conv + entry * channels, seed)
    v.f32[row, at.conv_scale // 4 + entry] = scale


@njit(forceinline=True, nogil=True, error_model="numpy")
def _spread(s, of_heads, out):
    """out[e] = of_heads[e // P]."""
    for h in range(s.H):
        fill(out, h * s.P, of_heads[h], s.P)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _update_scalar(s, at, v, row, w, seed):
    """h <- a h + dt x (outer) B, one decay a head; u = dt x in `peak`."""
    _spread(s, w.dt, w.spread)
    for e in range(s.E):
        w.peak[e] = w.spread[e] * w.conv[e]
    _accumulate(s, v, row, at.ssm, at.ssm_scale, w, seed)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _update_echo(p, s, at, v, row, w, seed):
    """Q <- 1 + gamma a Q,  S <- gamma S + Q u (outer) B."""
    for h in range(s.H):
        gamma = p.echo_gamma[h]
        q = _ONE + gamma * w.decay[h] * v.f32[row, at.echo_weight // 4 + h]
        v.f32[row, at.echo_weight // 4 + h] = q
        w.decay[h] = gamma
        w.narrow[h] = q * w.dt[h]
    _spread(s, w.narrow, w.spread)
    for e in range(s.E):
        w.peak[e] = w.spread[e] * w.conv[e]
    _accumulate(s, v, row, at.echo, at.echo_scale, w, seed)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _accumulate(s, v, row, data, scales, w, seed):
    """One state (N, E) <- decay of each head * state + B (outer) u, u in `peak`; decay moves the scales alone."""
    E, N = s.E, s.N
    if not s.int8:
        _spread(s, w.decay, w.factor)
        for n in range(N):
            _fade_and_add(v.f32, row, data // 4 + n * E, E, w.factor, w.conv[E + n], w.peak)
        return
    for h in range(s.H):
        scale = v.f32[row, scales // 4 + h] * w.decay[h]
        w.scale[h] = scale if scale > _FADED else _ONE
        w.held[h] = _ONE if scale > _FADED else _ZERO
        w.narrow[h] = _ONE / w.scale[h]
    _spread(s, w.narrow, w.spread)
    _spread(s, w.held, w.factor)
    for e in range(E):
        w.peak[e] = w.peak[e] * w.spread[e]
    for n in range(N):
        _load_state(s, v, row, data, n, w)
        _fade_and_add(w.raw, n, 0, E, w.factor, w.conv[E + n], w.peak)
    _store_state(s, v, row, data, scales, w, seed)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _load_state(s, v, row, data, n, w):
    """raw[n] = the whole numbers of direction n of a state (N, E) at byte `data`."""
    if s.ssm16:
        _load(w.raw, n, v.i16, row, data // 2 + n * s.E, s.E)
    else:
        _load(w.raw, n, v.i8, row, data + n * s.E, s.E)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _load(out, n, numbers, row, start, size):
    """out[n, :size] = numbers[row, start : start + size]."""
    for i in range(size):
        out[n, i] = np.float32(numbers[row, np.uint64(start) + np.uint64(i)])


@njit(forceinline=True, nogil=True, error_model="numpy")
def _fade_and_add(state, row, start, size, fade, weight, x):
    """state = fade * state + weight * x, place by place, in state[row, start : start + size]."""
    for i in range(size):
        place = np.uint64(start) + np.uint64(i)
        state[row, place] = fade[i] * state[row, place] + weight * x[i]


@njit(forceinline=True, nogil=True, error_model="numpy")
def _update_diagonal(p, s, at, v, row, w, seed):
    """h <- a h + dt x (outer) B, one decay a channel and state: the decay cannot move into a scale."""
    E, N = s.E, s.N
    for e in range(E):
        w.peak[e] = w.dt[e] * w.conv[e]
    for h in range(s.H):
        scale = v.f32[row, at.ssm_scale // 4 + h]
        w.scale[h] = scale if s.int8 and scale > _FADED else _ONE
        w.narrow[h] = _ONE / w.scale[h]
    _spread(s, w.narrow, w.spread)
    for e in range(E):
        w.peak[e] = w.peak[e] * w.spread[e]
    for n in range(N):
        for e in range(E):
            w.decay[e] = -w.dt[e] * p.rate[n, e]
        exp(w.decay, E)
        if s.int8:
            _load_state(s, v, row, at.ssm, n, w)
            _fade_and_add(w.raw, n, 0, E, w.decay, w.conv[E + n], w.peak)
        else:
            _fade_and_add(v.f32, row, at.ssm // 4 + n * E, E, w.decay, w.conv[E + n], w.peak)
    if s.int8:
        _store_state(s, v, row, at.ssm, at.ssm_scale, w, seed)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _store_state(s, v, row, data, scales, w, seed):
    """Write `raw` (N, E), in units of the scales in `scale` (H), as whole numbers with the scales moved to fit."""
    E, N, P = s.E, s.N, s.P
    for e in range(E):
        w.peak[e] = _ZERO
    for n in range(N):
        raise_to(w.peak, w.raw, n, E)
    top = LARGEST_16 if s.ssm16 else LARGEST
    for h in range(s.H):
        w.held[h], v.f32[row, scales // 4 + h] = centre(largest(w.peak, h * P, P), w.scale[h], top)
    _spread(s, w.held, w.factor)
    for n in range(N):
        if s.ssm16:
            store(w.raw, n, w.factor, E, v.i16, row, data // 2 + n * E, seed, top)
        else:
            store(w.raw, n, w.factor, E, v.i8, row, data + n * E, seed, top)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _update_slots(p, s, at, v, row, elapsed_ms, w, seed):
    """C <- fade C + weight (outer) x,  z <- fade z + weight, one fade a slot."""
    R, D = s.R, s.D
    for r in range(R):
        w.narrow[r] = p.assign_bias[r]
        w.peak[r] = -p.slot_rate[r] * (np.float32(elapsed_ms) * _THOUSANDTH)
    matvec(w.newest, p.assign, D, p.assign.shape[1], w.narrow)
    softmax(w.narrow, R)
    exp(w.peak, R)
    _fade_and_add(v.f32, row, at.slot_mass // 4, R, w.peak, _ONE, w.narrow)
    if s.int8:
        for r in range(R):
            _add_to_slot(s, at, v, row, r, w.peak[r], w.narrow[r], w, seed)
    else:
        for r in range(R):
            _fade_and_add_slot(s, at, v, row, r, w.peak[r], w.narrow[r], w)


@njit(inline="always")
def _fade_and_add_slot(s, at, v, row, r, fade, weight, w):
    start = np.uint64(at.slots // 4 + r * s.D)
    for d in range(s.D):
        place = start + np.uint64(d)
        v.f32[row, place] = fade * v.f32[row, place] + weight * w.newest[d]


@njit(inline="always")
def _add_to_slot(s, at, v, row, r, fade, weight, w, seed):
    start = at.slots + r * s.D
    scale = v.f32[row, at.slot_scale // 4 + r] * fade
    held = _ONE if scale > _FADED else _ZERO
    scale = scale if scale > _FADED else _ONE
    added = weight / scale
    for d in range(s.D):
        w.older[d] = held * np.float32(v.i8[row, np.uint64(start) + np.uint64(d)]) + added * w.newest[d]
    factor, scale = centre(largest(w.older, 0, s.D), scale, LARGEST)
    store_scaled(w.older, factor, s.D, v.i8, row, start, seed)
    v.f32[row, at.slot_scale // 4 + r] = scale
