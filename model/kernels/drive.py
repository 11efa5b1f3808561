"""What drives the state space: the short convolution over the mix,
the step sizes and the decays of one event.

Compiled; a reader recomputes it from the convolution's tail in the state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.arrays import Floats
from model.kernels.compiled import piece
from model.kernels.elementary import exp, silu, softplus
from model.kernels.vectors import LANES
from model.params import Sizes


class Scratch(NamedTuple):
    """Working memory of one event's update; sizes in the letters of `model.config`."""

    conv: Floats  # (E + 2N) the convolution's output: x, B, C
    dt: Floats  # (H)
    decay: Floats  # (H)
    raw: Floats  # (N, E), a state on its way in or out
    peak: Floats  # (E) or (D)
    factor: Floats  # (E)
    spread: Floats  # (E), a number of each head, at each of its channels
    scale: Floats  # (H)
    held: Floats  # (H)
    narrow: Floats  # (H) or (R)


def scratch_for(s: Sizes) -> Scratch:
    """Working memory for one thread."""
    return Scratch(
        np.zeros(s.E + 2 * s.N, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros((s.N, s.E), np.float32),
        np.zeros(max(s.E, s.D), np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(s.E, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros(s.H, np.float32),
        np.zeros(max(s.H, s.R) + LANES, np.float32),
    )


@piece
def compute_drive(p, s, at, v, b, r, w):
    """Convolved x, B, C in `conv`, step sizes in `dt`, decays in `decay`, from event r's mix.

    The row may hold later events of the user already, but not their inputs of the convolution.
    """
    channels = s.E + 2 * s.N
    events = b.events[r]
    mixed = b.mixed[r]
    for c in range(channels):
        w.conv[c] = p.conv_bias[c] + p.conv[s.W - 1, c] * mixed[c]
    for j in range(1, min(events, s.W)):
        _add_input(p, s, at, v, b.row[r], (events - 1 - j) % s.W, s.W - 1 - j, w)
    silu(w.conv, channels)
    _step_sizes(p, s, mixed, w)


@piece
def _add_input(p, s, at, v, row, entry, tap, w):
    """conv += the tap's weights * one stored input."""
    channels = s.E + 2 * s.N
    if s.int8:
        scale = v.f32[row, at.conv_scale // 4 + entry]
        start = np.uint64(at.conv + entry * channels)
        for c in range(channels):
            w.conv[c] += p.conv[tap, c] * (np.float32(v.i8[row, start + np.uint64(c)]) * scale)
    else:
        start = np.uint64(at.conv // 4 + entry * channels)
        for c in range(channels):
            w.conv[c] += p.conv[tap, c] * v.f32[row, start + np.uint64(c)]


@piece
def _step_sizes(p, s, mixed, w):
    first = s.E + 2 * s.N
    for h in range(s.H):
        w.dt[h] = mixed[first + h] + p.dt_bias[h]
    softplus(w.dt, s.H)
    for h in range(s.H):
        w.decay[h] = -w.dt[h] * p.rate[h]
    exp(w.decay, s.H)
