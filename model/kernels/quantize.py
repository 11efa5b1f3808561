"""Whole numbers of 8 or 16 bits with a float32 scale,
rounded stochastically, the same on every replay.

A group of numbers is held as value = scale * q. Decays multiply the scale and leave q alone, so
slow decay costs no precision however many events pass; only what an event adds is rounded. After
each addition the group is moved by powers of two until its largest |q| lies in the upper half of
the range, then rounded: q = floor(v + r), r uniform in [0, 1) from a hash of (user, offset, place),
so the error is unbiased, and a number that is a whole multiple of the scale stays exact. The noise
of a slow recurrence's roundings adds up over its memory, so its numbers have 16 bits.

The hash is `lowbias32` (C. Wellons, hash-prospector) over a 32-bit seed mixed by splitmix64's
finaliser (S. Vigna).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from model.kernels.compiled import kernel
from model.kernels.elementary import as_bits, as_float

LARGEST = np.float32(127)
LARGEST_16 = np.float32(32767)
_TINY = np.float32(1e-30)
_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_ONE = np.float32(1)
_TWO = np.float32(2)
_UNIT = np.float32(2.0**-24)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_GOLDEN64 = np.uint64(0x9E3779B97F4A7C15)
_GOLDEN32 = np.uint32(0x9E3779B9)
_W1 = np.uint32(0x7FEB352D)
_W2 = np.uint32(0x846CA68B)


@kernel
def seed_of(user, offset):
    """32-bit seed of one event's roundings."""
    z = np.uint64(user) ^ (np.uint64(offset) * _GOLDEN64)
    z = (z ^ (z >> np.uint64(30))) * _M1
    z = (z ^ (z >> np.uint64(27))) * _M2
    return np.uint32(z ^ (z >> np.uint64(31)))


@njit(inline="always")
def uniform(seed, place):
    """A number in [0, 1), multiple of 2^-24, for one place of one event."""
    h = np.uint32(seed + np.uint32(np.uint32(place) * _GOLDEN32))
    h = np.uint32(h ^ (h >> np.uint32(16)))
    h = np.uint32(h * _W1)
    h = np.uint32(h ^ (h >> np.uint32(15)))
    h = np.uint32(h * _W2)
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return np.float32(np.int32(h >> np.uint32(8))) * _UNIT


@kernel
def largest(values, start, n):
    """Largest magnitude in values[start : start + n]; compared as bits,
    which order as magnitudes do and vectorise.
    """
    most = np.int32(0)
    for i in range(n):
        most = max(most, np.int32(as_bits(values[np.uint64(start) + np.uint64(i)]) & _MAGNITUDE))
    return as_float(np.int32(most))


@kernel
def raise_to(peak, values, row, n):
    """peak[:n] = max(peak[:n], |values[row, :n]|), place by place."""
    for i in range(n):
        peak[i] = as_float(max(as_bits(peak[i]), np.int32(as_bits(values[row, i]) & _MAGNITUDE)))


@kernel
def centre(most, scale, top):
    """Factor (a power of two) and new scale that bring the largest
    magnitude `most` into (top / 2, top].

    A group whose largest value is below 1e-30 counts as zero: factor and scale are 0.
    """
    if not most * scale > _TINY:
        return _ZERO, _ZERO
    factor = _ONE
    while most * factor > top:
        factor *= _HALF
    while most * factor <= top * _HALF:
        factor *= _TWO
    return factor, scale / factor


@kernel
def store(values, n_row, factors, n, numbers, row, at, seed, top):
    """numbers[row, at : at + n] = values[n_row, :n] * factors[:n], rounded stochastically."""
    for i in range(n):
        place = np.uint64(at) + np.uint64(i)
        numbers[row, place] = _round(values[n_row, i] * factors[i], seed, place, top)


@kernel
def store_scaled(values, factor, n, i8, row, at, seed):
    """i8[row, at : at + n] = values[:n] * factor, rounded stochastically."""
    for i in range(n):
        place = np.uint64(at) + np.uint64(i)
        i8[row, place] = _round(values[i] * factor, seed, place, LARGEST)


@njit(inline="always")
def _round(value, seed, place, top):
    moved = np.float32(np.floor(value + uniform(seed, place)))
    return np.int32(min(max(moved, -top), top))
