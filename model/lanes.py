"""Small dense kernels in float32 with a fixed order of operations.

Sums run in 8 lanes that are added at the end, so loops vectorise without the compiler's leave to reorder (no fast-math):
the same order on every machine, whatever its vector width. Places that do not start at 0 are unsigned: a signed index makes
the compiler ask at each step whether it counts from the end, and slices instead would cost reference counts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LANES = 8
_U1, _U2, _U3, _U4 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_U5, _U6, _U7 = np.uint64(5), np.uint64(6), np.uint64(7)
_EPSILON = np.float32(1e-5)
_ZERO = np.float32(0)
_ONE = np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy")
def matvec(x, matrix, n_in, n_out, y):  # type: ignore[no-untyped-def]
    """y[:n_out] += x[:n_in] @ matrix (n_in, n_out); n_in is a multiple of 4."""
    for i in range(0, n_in, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for j in range(n_out):
            y[j] += (x0 * matrix[i, j] + x1 * matrix[i + 1, j]) + (x2 * matrix[i + 2, j] + x3 * matrix[i + 3, j])


@njit(cache=True, nogil=True, error_model="numpy")
def total(x, n):  # type: ignore[no-untyped-def]
    """Sum of x[:n]; n is a multiple of LANES."""
    a = b = c = d = e = f = g = h = _ZERO
    for i in range(0, n, LANES):
        a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
        e, f, g, h = e + x[i + 4], f + x[i + 5], g + x[i + 6], h + x[i + 7]
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


@njit(cache=True, nogil=True, error_model="numpy")
def dot(x, table, row, start, n):  # type: ignore[no-untyped-def]
    """x[start : start + n] . table[row, start : start + n]; n is a multiple of LANES."""
    a = b = c = d = e = f = g = h = _ZERO
    for step in range(0, n, LANES):
        i = np.uint64(start) + np.uint64(step)
        a, b = a + x[i] * table[row, i], b + x[i + _U1] * table[row, i + _U1]
        c, d = c + x[i + _U2] * table[row, i + _U2], d + x[i + _U3] * table[row, i + _U3]
        e, f = e + x[i + _U4] * table[row, i + _U4], f + x[i + _U5] * table[row, i + _U5]
        g, h = g + x[i + _U6] * table[row, i + _U6], h + x[i + _U7] * table[row, i + _U7]
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


@njit(cache=True, nogil=True, error_model="numpy")
def add_row(y, weight, table, row, start, n):  # type: ignore[no-untyped-def]
    """y[start : start + n] += weight * table[row, start : start + n]."""
    for step in range(n):
        i = np.uint64(start) + np.uint64(step)
        y[i] += weight * table[row, i]


@njit(cache=True, nogil=True, error_model="numpy")
def inverse_rms(x, size):  # type: ignore[no-untyped-def]
    """1 / sqrt(mean of squares + epsilon) of x[:size]."""
    a = b = c = d = e = f = g = h = _ZERO
    for i in range(0, size, LANES):
        a, b, c, d = a + x[i] * x[i], b + x[i + 1] * x[i + 1], c + x[i + 2] * x[i + 2], d + x[i + 3] * x[i + 3]
        e, f, g, h = e + x[i + 4] * x[i + 4], f + x[i + 5] * x[i + 5], g + x[i + 6] * x[i + 6], h + x[i + 7] * x[i + 7]
    squares = ((a + e) + (c + g)) + ((b + f) + (d + h))
    return _ONE / np.float32(math.sqrt(squares / np.float32(size) + _EPSILON))


@njit(cache=True, nogil=True, error_model="numpy")
def layer_norm(x, norm, size):  # type: ignore[no-untyped-def]
    """x[:size] normalised in place; norm (2, size) holds weight and bias."""
    mean = total(x, size) / np.float32(size)
    for i in range(size):
        x[i] -= mean
    scale = inverse_rms(x, size)
    for i in range(size):
        x[i] = x[i] * scale * norm[0, i] + norm[1, i]
