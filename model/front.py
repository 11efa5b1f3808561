"""From the ring to the state space's drive: the part that folding an event and reading a state share.

Everything here is a pure function of the ring (and the convolution's tail), so a reader recomputes it from the state
alone and the fold need not store a single activation. Compiled; each part mirrors the `step` of its namesake in this
package.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from model.elementary import exp, sigmoid, silu, softplus
from model.lanes import LANES, add_scaled, dot, inverse_rms, layer_norm, matvec

_ZERO, _ONE = np.float32(0), np.float32(1)


class Scratch(NamedTuple):
    """Working memory of one fold or read; sizes in the letters of `model.config`."""

    ones: npt.NDArray[np.float32]  # (D)
    newest: npt.NDArray[np.float32]  # (D) input x_t of the newest event
    older: npt.NDArray[np.float32]  # (D) input of an older one
    front: npt.NDArray[np.float32]  # (D) what enters the state space
    wide: npt.NDArray[np.float32]  # (2F) or more
    narrow: npt.NDArray[np.float32]  # (F) or more
    scores: npt.NDArray[np.float32]  # (heads, K)
    mixed: npt.NDArray[np.float32]  # (E + 2N + H, padded) newest input of the convolution, raw step sizes
    conv: npt.NDArray[np.float32]  # (E + 2N) its output: x, B, C
    dt: npt.NDArray[np.float32]  # (E)
    decay: npt.NDArray[np.float32]  # (E), of heads or channels
    raw: npt.NDArray[np.float32]  # (N, E), a state on its way in or out
    peak: npt.NDArray[np.float32]  # (E) or (D)
    factor: npt.NDArray[np.float32]  # (E)
    scale: npt.NDArray[np.float32]  # (H)
    held: npt.NDArray[np.float32]  # (H)
    spread: npt.NDArray[np.float32]  # (E), a number of each head, at each of its channels


@njit(cache=True, nogil=True)
def scratch_for(s):
    """Working memory for one thread."""
    width = max(s.D, 2 * s.F, s.R + LANES)
    return (
        np.ones(s.D, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(width, np.float32),
        np.zeros(width, np.float32),
        np.zeros((s.window_heads, s.K), np.float32),
        np.zeros(s.E + 2 * s.N + s.H + LANES, np.float32),
        np.zeros(s.E + 2 * s.N, np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(s.E, np.float32),
        np.zeros((s.N, s.E), np.float32),
        np.zeros(max(s.E, s.D), np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros(s.E, np.float32),
    )


@njit(forceinline=True, nogil=True, error_model="numpy")
def embed(p, s, at, v, row, slot, out):
    """out[:D] = (item + action + gap) / its root mean square, for the event in one slot of the ring.

    The three tables are stored with each row's mean taken out, so the sum needs no centring.
    """
    item = v.u32[row, at.ring_items // 4 + slot]
    action = v.u8[row, at.ring_actions + slot]
    gap = v.u8[row, at.ring_gaps + slot]
    for d in range(s.D):
        out[d] = (p.item_input[item, d] + p.action_input[action, d]) + p.gap_input[gap, d]
    scale = inverse_rms(out, s.D)
    for d in range(s.D):
        out[d] = out[d] * scale


@njit(forceinline=True, nogil=True, error_model="numpy")
def glu(x, gate, gate_bias, out, out_bias, norm, s, w):
    """x[:D] = LayerNorm(x + W2(v * sigmoid(g)) + b2)."""
    F, D = s.F, s.D
    for i in range(2 * F):
        w.wide[i] = gate_bias[i]
    matvec(x, gate, D, 2 * F, w.wide)
    for i in range(F):
        w.narrow[i] = w.wide[F + i]
    sigmoid(w.narrow, F)
    for i in range(F):
        w.narrow[i] = w.narrow[i] * w.wide[i]
    for d in range(D):
        x[d] += out_bias[d]
    matvec(w.narrow, out, F, D, x)
    layer_norm(x, w.ones, norm, D)


@njit(forceinline=True, nogil=True, error_model="numpy")
def spectral(p, s, at, v, row, events, w):
    """front = LayerNorm(x_t + sum_j k_j x_{t-j}) over the filled ring.

    The input norm's weight is inside the stored taps, its bias in `taps_bias` (summed over the taps in use).
    """
    filled = min(events, s.K)
    for d in range(s.D):
        w.front[d] = w.newest[d] + p.taps_bias[filled - 1, d]
    for j in range(filled):
        embed(p, s, at, v, row, (events - 1 - j) & (s.K - 1), w.older)
        for d in range(s.D):
            w.front[d] += p.taps[j, d] * w.older[d]
    layer_norm(w.front, w.ones, p.norm_filter, s.D)


@njit(forceinline=True, nogil=True, error_model="numpy")
def window(p, s, at, v, row, events, w):
    """front = LayerNorm(front + W_out attention(front; keys and values of the ring's items))."""
    D, K, heads, filled = s.D, s.K, s.window_heads, min(events, s.K)
    width = D // heads
    for d in range(D):
        w.wide[d] = _ZERO
        w.narrow[d] = _ZERO
    matvec(w.front, p.window_query, D, D, w.wide)
    scale = _ONE / np.float32(math.sqrt(np.float32(width)))
    for j in range(filled):
        item = v.u32[row, at.ring_items // 4 + ((events - 1 - j) & (K - 1))]
        for h in range(heads):
            score = dot(w.wide, h * width, p.window_key, np.int64(item) * D + h * width, width)
            w.scores[h, j] = score * scale + p.window_bias[h, j]
    for h in range(heads):
        softmax(w.scores[h], filled)
    for j in range(filled):
        item = v.u32[row, at.ring_items // 4 + ((events - 1 - j) & (K - 1))]
        for h in range(heads):
            add_scaled(w.narrow, h * width, w.scores[h, j], p.window_value, np.int64(item) * D + h * width, width)
    matvec(w.narrow, p.window_out, D, D, w.front)
    layer_norm(w.front, w.ones, p.norm_window, D)


@njit(forceinline=True, nogil=True, error_model="numpy")
def softmax(x, n):
    """x[:n] normalised in place, in order."""
    most, whole = x[0], _ZERO
    for i in range(n):
        most = max(most, x[i])
    for i in range(n):
        x[i] -= most
    exp(x, n)
    for i in range(n):
        whole += x[i]
    for i in range(n):
        x[i] = x[i] / whole


@njit(forceinline=True, nogil=True, error_model="numpy")
def compute_front(p, s, at, v, row, events, w):
    """newest = x_t and front = what enters the state space, from a ring that holds the newest event."""
    embed(p, s, at, v, row, (events - 1) & (s.K - 1), w.newest)
    for d in range(s.D):
        w.newest[d] = w.newest[d] * p.norm_input[0, d] + p.norm_input[1, d]
    if s.filter:
        spectral(p, s, at, v, row, events, w)
    else:
        for d in range(s.D):
            w.front[d] = w.newest[d]
    if s.window:
        window(p, s, at, v, row, events, w)
    if s.input_glu:
        glu(w.front, p.in_gate, p.in_gate_bias, p.in_out, p.in_out_bias, p.norm_in, s, w)


@njit(forceinline=True, nogil=True, error_model="numpy")
def compute_drive(p, s, at, v, row, events, w):
    """Convolved x, B, C in `conv`, step sizes in `dt`, decays of a scalar transition in `decay`, from `front`."""
    channels, columns = s.E + 2 * s.N, p.mix.shape[1]
    for c in range(columns):
        w.mixed[c] = _ZERO
    matvec(w.front, p.mix, s.D, columns, w.mixed)
    for c in range(channels):
        w.conv[c] = p.conv_bias[c] + p.conv[s.W - 1, c] * w.mixed[c]
    for j in range(1, min(events, s.W)):
        entry = (events - 1 - j) % s.W
        tap = s.W - 1 - j
        if s.int8:
            scale, start = v.f32[row, at.conv_scale // 4 + entry], np.uint64(at.conv + entry * channels)
            for c in range(channels):
                w.conv[c] += p.conv[tap, c] * (np.float32(v.i8[row, start + np.uint64(c)]) * scale)
        else:
            start = np.uint64(at.conv // 4 + entry * channels)
            for c in range(channels):
                w.conv[c] += p.conv[tap, c] * v.f32[row, start + np.uint64(c)]
    silu(w.conv, channels)
    _step_sizes(p, s, w)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _step_sizes(p, s, w):
    first = s.E + 2 * s.N
    for h in range(s.H):
        w.narrow[h] = w.mixed[first + h]
    if s.scalar:
        for h in range(s.H):
            w.dt[h] = w.narrow[h] + p.dt_bias[h]
        softplus(w.dt, s.H)
        for h in range(s.H):
            w.decay[h] = -w.dt[h] * p.rate[0, h]
        exp(w.decay, s.H)
    else:
        for e in range(s.E):
            w.dt[e] = p.dt_bias[e]
        matvec(w.narrow, p.dt_spread, s.H, s.E, w.dt)
        softplus(w.dt, s.E)
