"""From the ring to the state space's input:
the part that folding an event and reading a state share.

Everything here is a pure function of the ring, so a reader recomputes it from the state alone and
the fold need not store a single activation. It works on the first n events of a block; what it does
to one depends on no other. Compiled; each part mirrors the `step` of its namesake in this package.
"""

from __future__ import annotations

import math

import numpy as np

from model.kernels.compiled import kernel, piece
from model.kernels.elementary import exp, sigmoid
from model.kernels.vectors import (
    add_filtered,
    add_scaled,
    dot,
    inverse_root,
    layer_norm,
    matmul,
    prefetch,
    squares,
)

_ZERO = np.float32(0)
_ONE = np.float32(1)


@kernel
def compute_front(p, s, b, n):
    """newest = x_t, front = what enters the state space, mixed = its mix,
    assigned = the slots' weights.
    """
    for r in range(n):
        if r + 1 < n:
            _fetch(s, b, r + 1, p.item_input)
        input_at(p, s, b, r, 0, b.newest[r])
        if s.filter:
            _spectral(p, s, b, r)
        else:
            for d in range(s.D):
                b.front[r, d] = b.newest[r, d]
    if s.window:
        _window(p, s, b, n)
    if s.input_glu:
        glu(b.front, p.in_gate, p.in_gate_bias, p.in_out, p.in_out_bias, p.norm_in, s, b, n)
    for r in range(n):
        b.mixed[r] = _ZERO
        for slot in range(s.R):
            b.assigned[r, slot] = p.assign_bias[slot]
    matmul(b.front, p.mix, n, b.mixed)
    matmul(b.newest, p.assign, n, b.assigned)


@piece
def _fetch(s, b, r, table):
    """Ask for the rows of a table of items that event r is going to need."""
    for j in range(min(b.events[r], s.K)):
        prefetch(table, b.items[r, j] * s.D, s.D)


@piece
def input_at(p, s, b, r, j, out):
    """out[:D] = x, the normalised input of place j of an event's ring."""
    item = p.item_input[b.items[r, j]]
    action = p.action_input[b.actions[r, j]]
    gap = p.gap_input[b.gaps[r, j]]
    scale = inverse_root(squares(item, 0, action, 0, gap, 0, s.D) / np.float32(s.D))
    for d in range(s.D):
        whole = (item[d] + action[d]) + gap[d]
        out[d] = (whole * scale) * p.norm_input[0, d] + p.norm_input[1, d]


@piece
def _spectral(p, s, b, r):
    """front = LayerNorm(x_t + sum_j k_j x_{t-j}) over the filled ring.

    The three tables that make an input are stored with each row's mean taken out, so their sum
    needs no centring. The input norm's weight is inside the stored taps, its bias in `taps_bias`
    (summed over the taps in use).
    """
    D = s.D
    filled = min(b.events[r], s.K)
    front = b.front[r]
    x = b.newest[r]
    for j in range(filled):
        item = b.items[r, j] * D
        action = b.actions[r, j] * D
        gap = b.gaps[r, j] * D
        b.scales[j] = squares(p.item_input, item, p.action_input, action, p.gap_input, gap, D)
    for j in range(filled):
        b.scales[j] = inverse_root(b.scales[j] / np.float32(D))
    for d in range(D):
        front[d] = x[d] + p.taps_bias[filled - 1, d]
    for j in range(filled):
        item = b.items[r, j] * D
        action = b.actions[r, j] * D
        gap = b.gaps[r, j] * D
        add_filtered(
            front,
            0,
            b.scales[j],
            p.taps,
            j * D,
            p.item_input,
            item,
            p.action_input,
            action,
            p.gap_input,
            gap,
            D,
        )
    layer_norm(front, p.norm_filter, D)


@piece
def _window(p, s, b, n):
    """front = LayerNorm(front + W_out attention(front; keys and values of the ring's items))."""
    for r in range(n):
        b.wide[r] = _ZERO
        b.narrow[r] = _ZERO
    matmul(b.front, p.window_query, n, b.wide)
    for r in range(n):
        if r + 1 < n:
            _fetch(s, b, r + 1, p.window_key)
            _fetch(s, b, r + 1, p.window_value)
        _attend(p, s, b, r)
    matmul(b.narrow, p.window_out, n, b.front)
    for r in range(n):
        layer_norm(b.front[r], p.norm_window, s.D)


@piece
def _attend(p, s, b, r):
    """narrow = attention of one event's query in `wide` over its ring."""
    D = s.D
    width = s.D // s.window_heads
    filled = min(b.events[r], s.K)
    scale = _ONE / np.float32(math.sqrt(np.float32(width)))
    query = b.wide[r]
    out = b.narrow[r]
    for j in range(filled):
        for h in range(s.window_heads):
            score = dot(query, h * width, p.window_key, b.items[r, j] * D + h * width, width)
            b.scores[h, j] = score * scale + p.window_bias[h, j]
    for h in range(s.window_heads):
        softmax(b.scores[h], filled)
    for j in range(filled):
        for h in range(s.window_heads):
            add_scaled(
                out, h * width, b.scores[h, j], p.window_value, b.items[r, j] * D + h * width, width
            )


@piece
def glu(x, gate, gate_bias, out, out_bias, norm, s, b, n):
    """x[:n, :D] = LayerNorm(x + W2(v * sigmoid(g)) + b2)."""
    F = s.F
    D = s.D
    for r in range(n):
        for i in range(2 * F):
            b.wide[r, i] = gate_bias[i]
    matmul(x, gate, n, b.wide)
    for r in range(n):
        row = x[r]
        value = b.wide[r]
        inner = b.narrow[r]
        for i in range(F):
            inner[i] = value[F + i]
        sigmoid(inner, F)
        for i in range(F):
            inner[i] = inner[i] * value[i]
        for d in range(D):
            row[d] += out_bias[d]
    matmul(b.narrow, out, n, x)
    for r in range(n):
        layer_norm(x[r], norm, D)


@kernel
def softmax(x, n):
    """x[:n] normalised in place, in order."""
    most = x[0]
    whole = _ZERO
    for i in range(n):
        most = max(most, x[i])
    for i in range(n):
        x[i] -= most
    exp(x, n)
    for i in range(n):
        whole += x[i]
    for i in range(n):
        x[i] = x[i] / whole
