"""Small dense kernels in float32 with a fixed order of operations.

Sums run in 8 lanes that are added at the end in a fixed order: the same on every machine, whatever its vector width,
and without the compiler's leave to reorder (no fast-math). A compiler without that leave does not vectorise a sum, so
`dot` is written in its vector instructions. Places that do not start at 0 are unsigned: a signed index makes the
compiler ask at each step whether it counts from the end, and slices instead would cost reference counts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_EPSILON = np.float32(1e-5)
_ONE = np.float32(1)


@intrinsic
def dot(_context: Any, x: Any, x_at: Any, y: Any, y_at: Any, n: Any) -> Any:
    """x.flat[x_at : x_at + n] . y.flat[y_at : y_at + n] of C-contiguous float32 arrays; n is a multiple of LANES.

    Lane k sums the products at places k, k + 8, ...; then ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        left, right = (_start(context, builder, signature, args, i) for i in (0, 2))
        with _steps(builder, args[4]) as (place, _):
            product = builder.fmul(_load(builder, left, place), _load(builder, right, place))
            builder.store(builder.fadd(builder.load(sums), product), sums)
        lane = [builder.extract_element(builder.load(sums), ir.Constant(ir.IntType(32), k)) for k in range(LANES)]
        half = [builder.fadd(lane[k], lane[k + 4]) for k in range(4)]
        return builder.fadd(builder.fadd(half[0], half[2]), builder.fadd(half[1], half[3]))

    return types.float32(x, types.int64, y, types.int64, types.int64), generate


@intrinsic
def add_scaled(_context: Any, y: Any, y_at: Any, weight: Any, x: Any, x_at: Any, n: Any) -> Any:
    """y.flat[y_at : y_at + n] += weight * x.flat[x_at : x_at + n]; C-contiguous float32, n a multiple of LANES."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _start(context, builder, signature, args, 0)
        source = _start(context, builder, signature, args, 3)
        weights = _splat(builder, args[2])
        with _steps(builder, args[5]) as (place, _):
            _add_at(builder, target, place, builder.fmul(weights, _load(builder, source, place)))
        return context.get_dummy_value()

    return types.void(y, types.int64, types.float32, x, types.int64, types.int64), generate


def _start(context: Any, builder: Any, signature: Any, args: Any, which: int) -> Any:
    """Pointer to the place that args[which + 1] names in the array args[which]."""
    data = context.make_array(signature.args[which])(context, builder, args[which]).data
    return builder.gep(data, [args[which + 1]])


def _steps(builder: Any, size: Any, step: int = LANES) -> Any:
    return cgutils.for_range_slice(builder, size.type(0), size, size.type(step), inc=True)


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _add_at(builder: Any, start: Any, place: Any, values: Any) -> None:
    builder.store(builder.fadd(_load(builder, start, place), values), _at(builder, start, place), align=4)


def _at(builder: Any, start: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(start, [place]), _VECTOR.as_pointer())


def _load(builder: Any, start: Any, place: Any) -> Any:
    return builder.load(_at(builder, start, place), align=4)


@intrinsic
def matvec(_context: Any, x: Any, matrix: Any, n_in: Any, n_out: Any, y: Any) -> Any:
    """y[:n_out] += x[:n_in] @ matrix (n_in, n_out), C-contiguous; n_in a multiple of 4, n_out of LANES.

    Four rows at a time: y += (x0 m0 + x1 m1) + (x2 m2 + x3 m3), row blocks in order.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 1, 4)]
        n_in, n_out = args[2], args[3]
        with _steps(builder, n_in, 4) as (row, _):
            rows = [builder.add(row, row.type(k)) for k in range(4)]
            factors = [_splat(builder, builder.load(builder.gep(data[0], [i]))) for i in rows]
            starts = [builder.gep(data[1], [builder.mul(i, n_out)]) for i in rows]
            with _steps(builder, n_out) as (place, _):
                products = [
                    builder.fmul(factor, _load(builder, start, place))
                    for factor, start in zip(factors, starts, strict=True)
                ]
                halves = builder.fadd(products[0], products[1]), builder.fadd(products[2], products[3])
                _add_at(builder, data[2], place, builder.fadd(*halves))
        return context.get_dummy_value()

    return types.void(x, matrix, types.int64, types.int64, y), generate


@intrinsic
def fill(_context: Any, y: Any, y_at: Any, value: Any, n: Any) -> Any:
    """y.flat[y_at : y_at + n] = value; n a multiple of LANES."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, values = _start(context, builder, signature, args, 0), _splat(builder, args[2])
        with _steps(builder, args[3]) as (place, _):
            builder.store(values, _at(builder, target, place), align=4)
        return context.get_dummy_value()

    return types.void(y, types.int64, types.float32, types.int64), generate


@njit(cache=True, nogil=True, error_model="numpy")
def inverse_rms(x, size):
    """1 / sqrt(mean of squares + epsilon) of x[:size]."""
    return _ONE / np.float32(math.sqrt(dot(x, 0, x, 0, size) / np.float32(size) + _EPSILON))


@njit(cache=True, nogil=True, error_model="numpy")
def layer_norm(x, ones, norm, size):
    """x[:size] normalised in place; norm (2, size) holds weight and bias, `ones` (size) ones to sum with."""
    mean = dot(x, 0, ones, 0, size) / np.float32(size)
    for i in range(size):
        x[i] -= mean
    scale = inverse_rms(x, size)
    for i in range(size):
        x[i] = x[i] * scale * norm[0, i] + norm[1, i]
