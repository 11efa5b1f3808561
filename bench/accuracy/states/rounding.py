"""States kept in other number formats than the shipped one, for studies:
the float32 fold, rounded after each event.

A part of a state is kept as float32, float16, or whole numbers up to a largest one with a float32
scale a group. Whole numbers follow `model.kernels.quantize`: decay moves the scale alone, powers of
two keep the largest number in the upper half of the range, and only what an event adds is rounded.
With the shipped formats, rounding draws the same random numbers as the shipped fold does, so the
two agree but for float32's own rounding.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from model.arrays import Bytes, Keys, Longs
from model.bundle.bundle import Bundle
from model.config import ModelConfig
from model.kernels.block import block_for, enter
from model.kernels.drive import compute_drive, scratch_for
from model.kernels.elementary import exp
from model.kernels.fold import fold_blocks
from model.kernels.front import compute_front
from model.kernels.quantize import seed_of, uniform
from model.kernels.vectors import TILE
from model.state import layout, views

# whole numbers are called by their largest
FLOAT32 = 0
FLOAT16 = -1
INT16 = 32767
INT12 = 2047
INT8 = 127
INT4 = 7
_BYTES = {FLOAT32: 4.0, FLOAT16: 2.0, INT16: 2.0, INT12: 1.5, INT8: 1.0, INT4: 0.5}
_FADED = np.float32(1e-25)
_TINY = np.float32(1e-30)
_HALF = np.float32(0.5)
_HALF_LARGEST = np.float32(65504)  # of float16


class Formats(NamedTuple):
    """How each part of a state is kept."""

    conv: int = FLOAT32
    ssm: int = FLOAT32
    slots: int = FLOAT32
    stochastic: int = 1

    @classmethod
    def every(cls, kept: int, *, stochastic: bool = True) -> Formats:
        """The same format for all parts."""
        return cls(kept, kept, kept, int(stochastic))

    @classmethod
    def shipped(cls, config: ModelConfig) -> Formats:
        """What `config` keeps states in."""
        if config.state_dtype == "float32":
            return cls()
        recurrent = INT16 if config.ssm_bits == 16 else INT8
        return cls(INT8, recurrent, INT8)


def state_bytes(config: ModelConfig, formats: Formats) -> int:
    """Bytes of one user's state, index not included; float formats need no scales."""
    conv = config.inner + 2 * config.state_size
    ssm = config.inner * config.state_size
    parts = (
        (formats.conv, config.conv_width, conv),
        (formats.ssm, config.heads, ssm // config.heads),
        (formats.slots, config.slots, config.width),
    )
    ring = (10 if config.drop_duplicates else 6) * config.ring_length
    exact = 16 + ring + 2 * config.tail_length + 4 * config.slots
    kept = sum(
        groups * (size * _BYTES[kept] + (4 if kept > 0 else 0)) for kept, groups, size in parts
    )
    return 8 * math.ceil((exact + kept) / 8)


class RoundedBundle(Bundle):
    """A model whose states are float32 rows that hold only what `formats` can express."""

    def __init__(self, bundle: Bundle, formats: Formats) -> None:
        self.__dict__.update(bundle.__dict__)
        self.config = dataclasses.replace(bundle.config, state_dtype="float32")
        self.layout = layout(self.config)
        self._sizes = self._sizes._replace(int8=0)
        self.formats = formats
        self._places = layout(dataclasses.replace(bundle.config, state_dtype="int8"))

    def fold(
        self,
        rows: Bytes,
        index: Longs,
        users: Keys,
        items: Longs,
        actions: Bytes,
        times_ms: Longs,
        offsets: Longs,
    ) -> None:
        """See `Bundle.fold`."""
        if self.formats[:3] == Formats()[:3]:
            super().fold(rows, index, users, items, actions, times_ms, offsets)
            return
        columns: tuple[npt.NDArray[Any], ...] = (index, users, items, actions, times_ms, offsets)
        working = block_for(self._fold, self._sizes, TILE), scratch_for(self._sizes)
        places = self.formats, self._places
        fold_rounded(
            self._fold,
            self._sizes,
            self.layout,
            views(rows),
            *places,
            *map(_writable, columns),
            *working,
        )


def _writable(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.array(column)


@njit(cache=True, nogil=True, error_model="numpy")
def fold_rounded(
    p, s, at, v, formats, places, index, users, items, actions, times_ms, offsets, b, w
):
    """`fold_blocks` on float32 rows, one event at a time,
    each followed by rounding what it changed.

    `at` lays out the float32 rows, whose scales are used here; `places` are the shipped rows'
    offsets, for the hash.
    """
    wide = 2 if s.ssm16 else 1
    for i in range(len(index)):
        row = index[i]
        one = slice(i, i + 1)
        before = np.int64(v.u32[row, at.events // 4])
        last_ms = v.i64[row, at.last_time // 8]
        columns = index[one], users[one], items[one], actions[one], times_ms[one], offsets[one]
        fold_blocks(p, s, at, v, *columns, b, w)
        events = np.int64(v.u32[row, at.events // 4])
        if events == before:
            continue
        elapsed_ms = max(times_ms[i] - last_ms, np.int64(0)) if before else np.int64(0)
        enter(s, at, v, row, b, 0)
        compute_front(p, s, b, np.int64(1))
        compute_drive(p, s, at, v, b, np.int64(0), w)
        seed = seed_of(users[i], offsets[i])
        _round_conv(s, at, v, row, formats, places, (events - 1) % s.W, seed)
        for h in range(s.H):
            _round_head(s, at, v, row, formats, places.ssm // wide, h, w.decay[h], seed)
        for r in range(s.R):
            w.peak[r] = -p.slot_rate[r] * (np.float32(elapsed_ms) * np.float32(0.001))
        exp(w.peak, s.R)
        for r in range(s.R):
            _round_slot(s, at, v, row, formats, places, r, w.peak[r], seed)


@njit(cache=True, nogil=True, error_model="numpy")
def _round_conv(s, at, v, row, formats, places, entry, seed):
    """The newest input of the convolution; its scale is its own."""
    channels = s.E + 2 * s.N
    start = at.conv // 4 + entry * channels
    place = places.conv + entry * channels
    _round(
        v.f32,
        row,
        start,
        1,
        0,
        channels,
        formats.conv,
        np.float32(1),
        formats.stochastic,
        seed,
        place,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _round_head(s, at, v, row, formats, first, h, fade, seed):
    """One head (N, P) of the state (N, E), whose scale faded by `fade`;
    `first` is its place in a shipped row.
    """
    scale = v.f32[row, at.ssm_scale // 4 + h] * fade
    start = at.ssm // 4 + h * s.P
    place = first + h * s.P
    v.f32[row, at.ssm_scale // 4 + h] = _round(
        v.f32, row, start, s.N, s.E, s.P, formats.ssm, scale, formats.stochastic, seed, place
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _round_slot(s, at, v, row, formats, places, r, fade, seed):
    """One slot (D) of the low-rank cache, whose scale faded by `fade`."""
    scale = v.f32[row, at.slot_scale // 4 + r] * fade
    start = at.slots // 4 + r * s.D
    place = places.slots + r * s.D
    v.f32[row, at.slot_scale // 4 + r] = _round(
        v.f32, row, start, 1, 0, s.D, formats.slots, scale, formats.stochastic, seed, place
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _round(f32, row, start, count, stride, width, kept, scale, stochastic, seed, place):
    """One group, `count` runs of `width` numbers `stride` apart,
    rounded in place; the group's new scale.
    """
    if kept == FLOAT32:
        return scale
    scale = scale if scale > _FADED else np.float32(1)
    factor = np.float32(1)
    centred = scale
    if kept > 0:
        factor, centred = _centre(
            _largest(f32, row, start, count, stride, width) / scale, scale, np.float32(kept)
        )
    for n in range(count):
        for i in range(width):
            at = start + n * stride + i
            draw = uniform(seed, np.uint64(place + n * stride + i)) if stochastic else _HALF
            if kept == FLOAT16:
                f32[row, at] = _to_half(f32[row, at], draw)
            else:
                whole = np.float32(math.floor(f32[row, at] / scale * factor + draw))
                f32[row, at] = min(max(whole, np.float32(-kept)), np.float32(kept)) * centred
    return centred


@njit(cache=True, nogil=True, error_model="numpy")
def _largest(f32, row, start, count, stride, width):
    most = np.float32(0)
    for n in range(count):
        for i in range(width):
            most = max(most, abs(f32[row, start + n * stride + i]))
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def _centre(most, scale, kept):
    """`model.kernels.quantize.centre` for any largest number:
    factor and scale for its upper half.
    """
    if not most * scale > _TINY:
        return np.float32(0), np.float32(0)
    factor = np.float32(1)
    while most * factor > kept:
        factor *= np.float32(0.5)
    while most * factor <= kept * np.float32(0.5):
        factor *= np.float32(2)
    return factor, scale / factor


@njit(cache=True, nogil=True, error_model="numpy")
def _to_half(value, draw):
    """A number with 11 significant bits, a multiple of 2^-24."""
    if value == 0:
        return value
    _, exponent = math.frexp(value)
    step = np.float32(2.0) ** np.float32(max(exponent - 11, -24))
    whole = np.float32(math.floor(value / step + draw)) * step
    return min(max(whole, -_HALF_LARGEST), _HALF_LARGEST)
