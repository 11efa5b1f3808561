"""Small dense kernels in float32 with a fixed order of operations.

Sums run in 16 lanes that are added at the end, so loops vectorise without the compiler's leave to reorder (no fast-math):
the same order on every machine, whatever its vector width.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LANES = 16
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
def total(x, n, lanes):  # type: ignore[no-untyped-def]
    """Sum of x[:n]; n is a multiple of LANES, `lanes` is scratch."""
    for k in range(LANES):
        lanes[k] = _ZERO
    for i in range(0, n, LANES):
        for k in range(LANES):
            lanes[k] += x[i + k]
    return _fold_lanes(lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def dot(x, x_at, table, row, column, n, lanes):  # type: ignore[no-untyped-def]
    """x[x_at : x_at + n] . table[row, column : column + n]; n is a multiple of LANES, `lanes` is scratch."""
    for k in range(LANES):
        lanes[k] = _ZERO
    for i in range(0, n, LANES):
        for k in range(LANES):
            lanes[k] += x[x_at + i + k] * table[row, column + i + k]
    return _fold_lanes(lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def squares(x, n, lanes):  # type: ignore[no-untyped-def]
    """Sum of the squares of x[:n]; n is a multiple of LANES, `lanes` is scratch."""
    for k in range(LANES):
        lanes[k] = _ZERO
    for i in range(0, n, LANES):
        for k in range(LANES):
            lanes[k] += x[i + k] * x[i + k]
    return _fold_lanes(lanes)


@njit(cache=True, nogil=True, error_model="numpy")
def layer_norm(x, norm, n, lanes):  # type: ignore[no-untyped-def]
    """x[:n] normalised in place; norm (2, n) holds weight and bias."""
    mean = total(x, n, lanes) / np.float32(n)
    for i in range(n):
        x[i] -= mean
    scale = _ONE / np.float32(math.sqrt(squares(x, n, lanes) / np.float32(n) + _EPSILON))
    for i in range(n):
        x[i] = x[i] * scale * norm[0, i] + norm[1, i]


@njit(inline="always")
def _fold_lanes(lanes):  # type: ignore[no-untyped-def]
    a = (lanes[0] + lanes[8]) + (lanes[4] + lanes[12])
    b = (lanes[1] + lanes[9]) + (lanes[5] + lanes[13])
    c = (lanes[2] + lanes[10]) + (lanes[6] + lanes[14])
    d = (lanes[3] + lanes[11]) + (lanes[7] + lanes[15])
    return (a + c) + (b + d)
