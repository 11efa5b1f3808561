"""From the ring to the state space's drive: the part that folding an event and reading a state share.

Everything here is a pure function of the ring (and the convolution's tail), so a reader recomputes it from the state alone
and the fold need not store a single activation. Compiled; each part mirrors the `step` of its namesake in this package.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from model.elementary import exp, sigmoid, silu, softplus
from model.lanes import LANES, dot, layer_norm, matvec

_ZERO, _ONE = np.float32(0), np.float32(1)


class Scratch(NamedTuple):
    """Working memory of one fold or read; sizes in the letters of `model.config`."""

    lanes: npt.NDArray[np.float32]  # (LANES)
    newest: npt.NDArray[np.float32]  # (D) input x_t of the newest event
    older: npt.NDArray[np.float32]  # (D) input of an older one
    front: npt.NDArray[np.float32]  # (D) what enters the state space
    wide: npt.NDArray[np.float32]  # (2F) or more
    narrow: npt.NDArray[np.float32]  # (F) or more
    scores: npt.NDArray[np.float32]  # (heads * K)
    mixed: npt.NDArray[np.float32]  # (E + 2N) newest input of the convolution
    conv: npt.NDArray[np.float32]  # (E + 2N) its output: x, B, C
    dt: npt.NDArray[np.float32]  # (E)
    decay: npt.NDArray[np.float32]  # (E), of heads or channels
    raw: npt.NDArray[np.float32]  # (N * E) or (R * D), a group on its way in or out
    peak: npt.NDArray[np.float32]  # (E)


@njit(cache=True, nogil=True)
def scratch_for(s):  # type: ignore[no-untyped-def]
    """Working memory for one thread."""
    width = max(s.D, 2 * s.F)
    return (
        np.zeros(LANES, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(s.D, np.float32),
        np.zeros(width, np.float32),
        np.zeros(width, np.float32),
        np.zeros(s.window_heads * s.K, np.float32),
        np.zeros(s.E + 2 * s.N, np.float32),
        np.zeros(s.E + 2 * s.N, np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(max(s.N * s.E, s.R * s.D), np.float32),
        np.zeros(s.E, np.float32),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def embed(p, s, at, v, row, slot, w, out):  # type: ignore[no-untyped-def]
    """out[:D] = LayerNorm(item + action + gap) of the event in one slot of the ring."""
    item = v.u32[row, at.ring_items // 4 + slot]
    action = v.u8[row, at.ring_actions + slot]
    gap = v.u8[row, at.ring_gaps + slot]
    for d in range(s.D):
        out[d] = (p.item[item, d] + p.action[action, d]) + p.gap[gap, d]
    layer_norm(out, p.norm_input, s.D, w.lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def glu(x, gate, gate_bias, out, out_bias, norm, s, w):  # type: ignore[no-untyped-def]
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
    layer_norm(x, norm, D, w.lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def spectral(p, s, at, v, row, events, w):  # type: ignore[no-untyped-def]
    """front = LayerNorm(x_t + sum_j k_j x_{t-j}) over the filled ring."""
    for d in range(s.D):
        w.front[d] = w.newest[d] + p.taps[0, d] * w.newest[d]
    for j in range(1, min(events, s.K)):
        embed(p, s, at, v, row, (events - 1 - j) & (s.K - 1), w, w.older)
        for d in range(s.D):
            w.front[d] += p.taps[j, d] * w.older[d]
    layer_norm(w.front, p.norm_filter, s.D, w.lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def window(p, s, at, v, row, events, w):  # type: ignore[no-untyped-def]
    """front = LayerNorm(front + W_out attention(front; keys and values of the ring's items))."""
    D, K, heads, filled = s.D, s.K, s.window_heads, min(events, s.K)
    width = D // heads
    scale = _ONE / np.float32(math.sqrt(np.float32(width)))
    for d in range(D):
        w.wide[d] = _ZERO
        w.narrow[d] = _ZERO
    matvec(w.front, p.window_query, D, D, w.wide)
    for j in range(filled):
        item = v.u32[row, at.ring_items // 4 + ((events - 1 - j) & (K - 1))]
        for h in range(heads):
            score = dot(w.wide, h * width, p.window_key, item, h * width, width, w.lanes)
            w.scores[h * K + j] = score * scale + p.window_bias[h, j]
    for h in range(heads):
        softmax(w.scores, h * K, filled)
    for j in range(filled):
        item = v.u32[row, at.ring_items // 4 + ((events - 1 - j) & (K - 1))]
        for h in range(heads):
            weight = w.scores[h * K + j]
            for d in range(h * width, (h + 1) * width):
                w.narrow[d] += weight * p.window_value[item, d]
    matvec(w.narrow, p.window_out, D, D, w.front)
    layer_norm(w.front, p.norm_window, D, w.lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def softmax(x, start, n):  # type: ignore[no-untyped-def]
    """x[start : start + n] normalised in place, in order."""
    part = x[start : start + n]
    most = part[0]
    for i in range(1, n):
        most = max(most, part[i])
    for i in range(n):
        part[i] -= most
    exp(part, n)
    whole = _ZERO
    for i in range(n):
        whole += part[i]
    for i in range(n):
        part[i] = part[i] / whole


@njit(cache=True, nogil=True, error_model="numpy")
def compute_front(p, s, at, v, row, events, w):  # type: ignore[no-untyped-def]
    """newest = x_t and front = what enters the state space, from a ring that holds the newest event."""
    embed(p, s, at, v, row, (events - 1) & (s.K - 1), w, w.newest)
    if s.filter:
        spectral(p, s, at, v, row, events, w)
    else:
        for d in range(s.D):
            w.front[d] = w.newest[d]
    if s.window:
        window(p, s, at, v, row, events, w)
    if s.input_glu:
        glu(w.front, p.in_gate, p.in_gate_bias, p.in_out, p.in_out_bias, p.norm_in, s, w)


@njit(cache=True, nogil=True, error_model="numpy")
def compute_drive(p, s, at, v, row, events, w):  # type: ignore[no-untyped-def]
    """Convolved x, B, C in `conv`, step sizes in `dt`, decays of a scalar transition in `decay`, from `front`."""
    channels = s.E + 2 * s.N
    for c in range(channels):
        w.mixed[c] = _ZERO
    matvec(w.front, p.mix, s.D, channels, w.mixed)
    for c in range(channels):
        w.conv[c] = p.conv_bias[c] + p.conv[s.W - 1, c] * w.mixed[c]
    for j in range(1, min(events, s.W)):
        entry = (events - 1 - j) % s.W
        scale, base = v.f32[row, at.conv_scale // 4 + entry], entry * channels
        for c in range(channels):
            if s.int8:
                past = np.float32(v.i8[row, at.conv + base + c]) * scale
            else:
                past = v.f32[row, at.conv // 4 + base + c]
            w.conv[c] += p.conv[s.W - 1 - j, c] * past
    silu(w.conv, channels)
    _step_sizes(p, s, w)


@njit(cache=True, nogil=True, error_model="numpy")
def _step_sizes(p, s, w):  # type: ignore[no-untyped-def]
    for h in range(s.H):
        w.narrow[h] = _ZERO
    matvec(w.front, p.step_size, s.D, s.H, w.narrow)
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
