"""What a state says, for scoring: the sequence state,
the low-rank cache and the ring, from one row of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.arrays import Floats, Longs
from model.kernels.block import block_for, enter
from model.kernels.compiled import kernel, piece
from model.kernels.drive import compute_drive, scratch_for
from model.kernels.elementary import silu
from model.kernels.front import compute_front, glu, input_at
from model.kernels.vectors import TILE, inverse_rms, layer_norm, matmul
from model.params import FoldParams, Sizes
from model.state import RowViews, StateLayout


class Reading(NamedTuple):
    """One user's state, decoded."""

    sequence: Floats  # (D)
    cache: Floats  # (R, D)
    mass: Floats  # (R)
    ring: Longs  # item rows, newest first, at most K
    inputs: Floats  # (J, D) at most, x of the newest of them
    tail: npt.NDArray[np.uint16]  # fingerprints, newest first, at most T
    events: int
    last_ms: int


def read_row(p: FoldParams, s: Sizes, at: StateLayout, v: RowViews, row: int) -> Reading:
    """What a row says that has events."""
    events = int(v.u32[row, at.events // 4])
    filled = min(events, s.K)
    b = block_for(p, s, TILE)
    w = scratch_for(s)
    inputs = np.zeros((min(filled, s.J), s.D), np.float32)
    shown = np.zeros((2, TILE, s.E), np.float32)
    _read(p, s, at, v, row, b, w, shown[0], shown[1], inputs)
    left = at.tail // 2 + (events - 1 - s.K - np.arange(min(events - filled, s.T)) & s.T - 1)
    return Reading(
        sequence=b.front[0].copy(),
        cache=_cache(s, at, v, row),
        mass=v.f32[row, at.slot_mass // 4 : at.slot_mass // 4 + s.R].copy(),
        ring=b.items[0, :filled].copy(),
        inputs=inputs,
        tail=v.u16[row, left],
        events=events,
        last_ms=int(v.i64[row, at.last_time // 8]),
    )


def _cache(s: Sizes, at: StateLayout, v: RowViews, row: int) -> Floats:
    """The slots (R, D) of a row."""
    if not s.int8:
        return v.f32[row, at.slots // 4 : at.slots // 4 + s.R * s.D].reshape(s.R, s.D).copy()
    whole = v.i8[row, at.slots : at.slots + s.R * s.D].reshape(s.R, s.D).astype(np.float32)
    whole *= v.f32[row, at.slot_scale // 4 : at.slot_scale // 4 + s.R, None]
    return whole


@kernel
def _read(p, s, at, v, row, b, w, shown, gate, inputs):
    """front[0] = sequence state of a row, inputs (J,
    D) at most = x of its newest events; `shown`, `gate` (TILE, E).
    """
    enter(s, at, v, row, b, 0)
    n = np.int64(1)
    compute_front(p, s, b, n)
    compute_drive(p, s, at, v, b, 0, w)
    _read_state(p, s, at, v, row, w, shown[0])
    _finish(p, s, b, shown, gate)
    for j in range(len(inputs)):
        input_at(p, s, b, 0, j, inputs[j])


@piece
def _read_state(p, s, at, v, row, w, out):
    """out[:E] = C . h + skip x."""
    E = s.E
    N = s.N
    for e in range(E):
        out[e] = p.skip[e >> s.shift] * w.conv[e]
    for n in range(N):
        c = w.conv[E + N + n]
        for e in range(E):
            place = n * E + e
            h = e >> s.shift
            out[e] += c * _held(s, at, v, row, place, h)


@piece
def _held(s, at, v, row, place, h):
    """One number of the state (N, E), of head h."""
    if not s.int8:
        return v.f32[row, at.ssm // 4 + place]
    whole = (
        np.float32(v.i16[row, at.ssm // 2 + place])
        if s.ssm16
        else np.float32(v.i8[row, at.ssm + place])
    )
    return whole * v.f32[row, at.ssm_scale // 4 + h]


@piece
def _finish(p, s, b, shown, gate):
    """front[0] = sequence state from what the state space shows: gate,
    norm, projection, residual, GLU.
    """
    y = shown[0]
    matmul(b.front, p.gate, 1, gate)
    silu(gate[0], s.E)
    for e in range(s.E):
        y[e] = y[e] * gate[0, e]
    scale = inverse_rms(y, s.E)
    for e in range(s.E):
        y[e] = y[e] * scale * p.norm_ssm[e]
    matmul(shown, p.ssm_out, 1, b.front)
    layer_norm(b.front[0], p.norm_residual, s.D)
    glu(b.front, p.out_gate, p.out_gate_bias, p.out_out, p.out_out_bias, p.norm_out, s, b, 1)
