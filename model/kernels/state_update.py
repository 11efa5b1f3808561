"""What an event leaves in its user's state: convolution tail, state space, slots.

Decay goes into the scales, the event's part is added and rounded. Compiled, one event at a time in
log order.
"""

from __future__ import annotations

import numpy as np

from model.kernels.compiled import kernel, piece
from model.kernels.drive import compute_drive
from model.kernels.elementary import exp
from model.kernels.front import softmax
from model.kernels.quantize import (
    LARGEST,
    LARGEST_16,
    centre,
    largest,
    raise_to,
    store,
    store_scaled,
)

_ZERO = np.float32(0)
_ONE = np.float32(1)
_FADED = np.float32(1e-25)
_THOUSANDTH = np.float32(0.001)


@kernel
def update_states(p, s, at, v, b, n, w):
    """Fold the first n events of a block, which have been through the front,
    into the states of their rows.
    """
    for r in range(n):
        row = b.row[r]
        seed = b.seed[r]
        compute_drive(p, s, at, v, b, r, w)
        _store_conv(s, at, v, row, b.events[r], b.mixed[r], seed)
        _update_state_space(s, at, v, row, w, seed)
        _update_slots(p, s, at, v, b, r, w)


@piece
def _store_conv(s, at, v, row, events, mixed, seed):
    """Keep the newest input of the convolution, for the next W - 1 events and for the reader."""
    channels = s.E + 2 * s.N
    entry = (events - 1) % s.W
    if not s.int8:
        for c in range(channels):
            v.f32[row, at.conv // 4 + entry * channels + c] = mixed[c]
        return
    factor, scale = centre(largest(mixed, 0, channels), _ONE, LARGEST)
    store_scaled(mixed, factor, channels, v.i8, row, at.conv + entry * channels, seed)
    v.f32[row, at.conv_scale // 4 + entry] = scale


@piece
def _spread(s, of_heads, out):
    """out[e] = of_heads[e // P]."""
    for h in range(s.H):
        first = np.uint64(h * s.P)
        value = of_heads[h]
        for i in range(s.P):
            out[first + np.uint64(i)] = value


@piece
def _update_state_space(s, at, v, row, w, seed):
    """h (N, E) <- a h + B (outer) dt x, a and dt of each head; decay moves the scales alone."""
    E = s.E
    N = s.N
    _spread(s, w.dt, w.spread)
    for e in range(E):
        w.peak[e] = w.spread[e] * w.conv[e]
    if not s.int8:
        _spread(s, w.decay, w.factor)
        for n in range(N):
            _fade_and_add(v.f32, row, at.ssm // 4 + n * E, E, w.factor, w.conv[E + n], w.peak)
        return
    for h in range(s.H):
        scale = v.f32[row, at.ssm_scale // 4 + h] * w.decay[h]
        w.scale[h] = scale if scale > _FADED else _ONE
        w.held[h] = _ONE if scale > _FADED else _ZERO
        w.narrow[h] = _ONE / w.scale[h]
    _spread(s, w.narrow, w.spread)
    _spread(s, w.held, w.factor)
    for e in range(E):
        w.peak[e] = w.peak[e] * w.spread[e]
    for n in range(N):
        _load_state(s, at, v, row, n, w)
        _fade_and_add(w.raw, n, 0, E, w.factor, w.conv[E + n], w.peak)
    _store_state(s, at, v, row, w, seed)


@piece
def _load_state(s, at, v, row, n, w):
    """raw[n] = the whole numbers of direction n of the state (N, E)."""
    if s.ssm16:
        _load(w.raw, n, v.i16, row, at.ssm // 2 + n * s.E, s.E)
    else:
        _load(w.raw, n, v.i8, row, at.ssm + n * s.E, s.E)


@piece
def _load(out, n, numbers, row, start, size):
    """out[n, :size] = numbers[row, start : start + size]."""
    for i in range(size):
        out[n, i] = np.float32(numbers[row, np.uint64(start) + np.uint64(i)])


@piece
def _fade_and_add(state, row, start, size, fade, weight, x):
    """state = fade * state + weight * x, place by place, in state[row, start : start + size]."""
    for i in range(size):
        place = np.uint64(start) + np.uint64(i)
        state[row, place] = fade[i] * state[row, place] + weight * x[i]


@piece
def _store_state(s, at, v, row, w, seed):
    """Write `raw` (N, E), in units of the scales in `scale` (H),
    as whole numbers with the scales moved to fit.
    """
    E = s.E
    N = s.N
    P = s.P
    for e in range(E):
        w.peak[e] = _ZERO
    for n in range(N):
        raise_to(w.peak, w.raw, n, E)
    top = LARGEST_16 if s.ssm16 else LARGEST
    for h in range(s.H):
        w.held[h], v.f32[row, at.ssm_scale // 4 + h] = centre(
            largest(w.peak, h * P, P), w.scale[h], top
        )
    _spread(s, w.held, w.factor)
    for n in range(N):
        if s.ssm16:
            store(w.raw, n, w.factor, E, v.i16, row, at.ssm // 2 + n * E, seed, top)
        else:
            store(w.raw, n, w.factor, E, v.i8, row, at.ssm + n * E, seed, top)


@piece
def _update_slots(p, s, at, v, b, r, w):
    """C <- fade C + weight (outer) x,  z <- fade z + weight, one fade a slot."""
    row = b.row[r]
    R = s.R
    for slot in range(R):
        w.narrow[slot] = b.assigned[r, slot]
        w.peak[slot] = -p.slot_rate[slot] * (np.float32(b.elapsed_ms[r]) * _THOUSANDTH)
    softmax(w.narrow, R)
    exp(w.peak, R)
    _fade_and_add(v.f32, row, at.slot_mass // 4, R, w.peak, _ONE, w.narrow)
    for slot in range(R):
        if s.int8:
            _add_to_slot(
                s, at, v, row, slot, w.peak[slot], w.narrow[slot], b.newest[r], w, b.seed[r]
            )
        else:
            _fade_and_add_slot(s, at, v, row, slot, w.peak[slot], w.narrow[slot], b.newest[r])


@piece
def _fade_and_add_slot(s, at, v, row, slot, fade, weight, x):
    start = np.uint64(at.slots // 4 + slot * s.D)
    for d in range(s.D):
        place = start + np.uint64(d)
        v.f32[row, place] = fade * v.f32[row, place] + weight * x[d]


@piece
def _add_to_slot(s, at, v, row, slot, fade, weight, x, w, seed):
    start = at.slots + slot * s.D
    scale = v.f32[row, at.slot_scale // 4 + slot] * fade
    held = _ONE if scale > _FADED else _ZERO
    scale = scale if scale > _FADED else _ONE
    added = weight / scale
    sums = w.raw[0]
    for d in range(s.D):
        sums[d] = held * np.float32(v.i8[row, np.uint64(start) + np.uint64(d)]) + added * x[d]
    factor, scale = centre(largest(sums, 0, s.D), scale, LARGEST)
    store_scaled(sums, factor, s.D, v.i8, row, start, seed)
    v.f32[row, at.slot_scale // 4 + slot] = scale
