"""What a state says, for scoring: the sequence state, the low-rank cache and the ring, from one row of bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from model.elementary import silu
from model.front import Scratch, compute_drive, compute_front, embed, glu, scratch_for
from model.lanes import inverse_rms, layer_norm, matvec


class Reading(NamedTuple):
    """One user's state, decoded."""

    sequence: npt.NDArray[np.float32]  # (D)
    cache: npt.NDArray[np.float32]  # (R, D)
    mass: npt.NDArray[np.float32]  # (R)
    ring: npt.NDArray[np.int64]  # item rows, newest first, at most K
    inputs: npt.NDArray[np.float32]  # (J, D) at most, x of the newest of them
    tail: npt.NDArray[np.uint16]  # fingerprints, newest first, at most T
    events: int
    last_ms: int


@njit(cache=True, nogil=True, error_model="numpy")
def read_row(p, s, at, v, row):
    """(sequence, cache, mass, ring, inputs, tail) of a row that has events."""
    w = Scratch(*scratch_for(s))
    events = np.int64(v.u32[row, at.events // 4])
    compute_front(p, s, at, v, row, events, w)
    compute_drive(p, s, at, v, row, events, w)
    _read_state(p, s, at, v, row, w)
    _finish(p, s, w)
    cache, mass = np.zeros((s.R, s.D), np.float32), np.zeros(s.R, np.float32)
    for r in range(s.R):
        mass[r], scale = v.f32[row, at.slot_mass // 4 + r], v.f32[row, at.slot_scale // 4 + r]
        for d in range(s.D):
            cell = r * s.D + d
            held = np.float32(v.i8[row, at.slots + cell]) * scale if s.int8 else v.f32[row, at.slots // 4 + cell]
            cache[r, d] = held
    ring = np.zeros(min(events, s.K), np.int64)
    for j in range(len(ring)):
        ring[j] = v.u32[row, at.ring_items // 4 + ((events - 1 - j) & (s.K - 1))]
    inputs = np.zeros((min(len(ring), s.J), s.D), np.float32)
    for j in range(len(inputs)):
        slot = (events - 1 - j) & (s.K - 1)
        embed(p, s, at, v, row, slot, w.older)
        for d in range(s.D):
            inputs[j, d] = w.older[d] * p.norm_input[0, d] + p.norm_input[1, d]
    tail = np.zeros(min(max(events - s.K, 0), s.T), np.uint16)
    for j in range(len(tail)):
        tail[j] = v.u16[row, at.tail // 2 + ((events - s.K - 1 - j) & (s.T - 1))]
    return w.front, cache, mass, ring, inputs, tail


@njit(forceinline=True, nogil=True, error_model="numpy")
def _read_state(p, s, at, v, row, w):
    """peak[:E] = C . h + skip x (+ the echo's part)."""
    E, N = s.E, s.N
    for e in range(E):
        w.peak[e] = p.skip[e >> s.shift] * w.conv[e]
    for n in range(N):
        c = w.conv[E + N + n]
        for e in range(E):
            place, h = n * E + e, e >> s.shift
            w.peak[e] += c * _held(s, v, row, at.ssm, at.ssm_scale, place, h)
            if s.echo:
                w.peak[e] += p.echo_weight[h] * c * _held(s, v, row, at.echo, at.echo_scale, place, h)


@njit(forceinline=True, nogil=True, error_model="numpy")
def _held(s, v, row, data, scales, place, h):
    """One number of a state (N, E) at byte `data`, of head h."""
    if not s.int8:
        return v.f32[row, data // 4 + place]
    whole = np.float32(v.i16[row, data // 2 + place]) if s.ssm16 else np.float32(v.i8[row, data + place])
    return whole * v.f32[row, scales // 4 + h]


@njit(forceinline=True, nogil=True, error_model="numpy")
def _finish(p, s, w):
    """front[:D] = sequence state: gate, norm, projection, residual, GLU."""
    E, D = s.E, s.D
    gate = np.zeros(E, np.float32)
    matvec(w.front, p.gate, D, E, gate)
    silu(gate, E)
    for e in range(E):
        w.peak[e] = w.peak[e] * gate[e]
    scale = inverse_rms(w.peak, E)
    for e in range(E):
        w.peak[e] = w.peak[e] * scale * p.norm_ssm[e]
    matvec(w.peak, p.ssm_out, E, D, w.front)
    layer_norm(w.front, w.ones, p.norm_residual, D)
    glu(w.front, p.out_gate, p.out_gate_bias, p.out_out, p.out_out_bias, p.norm_out, s, w)
