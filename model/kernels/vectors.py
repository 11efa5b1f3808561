"""Small dense kernels in float32 with a fixed order of operations.

Sums run in 16 lanes that are added at the end in a fixed order: the same on every machine, whatever
its vector width, and without the compiler's leave to reorder (no fast-math). A compiler without
that leave does not vectorise a sum, so `dot` is written in its vector instructions. Places that do
not start at 0 are unsigned: a signed index makes the compiler ask at each step whether it counts
from the end, and slices instead would cost reference counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from model.kernels.compiled import kernel, piece

LANES = 16  # float32 that are worked on side by side
TILE = 4  # rows that a product takes at a time
_EPSILON = np.float32(1e-5)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ONE = np.float32(1)


@intrinsic
def dot(_context: Any, x: Any, x_at: Any, y: Any, y_at: Any, n: Any) -> Any:
    """x . y, summed over n places in the order of `_sum`."""
    return _reduction((x, y), lambda builder, x, y: builder.fmul(x, y))


@intrinsic
def total(_context: Any, x: Any, x_at: Any, n: Any) -> Any:
    """Sum of x."""
    return _reduction((x,), lambda _, x: x)


@intrinsic
def squares(_context: Any, x: Any, x_at: Any, y: Any, y_at: Any, z: Any, z_at: Any, n: Any) -> Any:
    """Sum of ((x + y) + z)^2."""

    def square(builder: Any, x: Any, y: Any, z: Any) -> Any:
        whole = builder.fadd(builder.fadd(x, y), z)
        return builder.fmul(whole, whole)

    return _reduction((x, y, z), square)


@intrinsic
def add_scaled(_context: Any, out: Any, out_at: Any, weight: Any, x: Any, x_at: Any, n: Any) -> Any:
    """out += weight * x."""
    return _update(
        (out, x), lambda builder, out, weight, x: builder.fadd(out, builder.fmul(weight, x))
    )


@intrinsic
def add_filtered(
    _context: Any,
    out: Any,
    out_at: Any,
    scale: Any,
    tap: Any,
    tap_at: Any,
    x: Any,
    x_at: Any,
    y: Any,
    y_at: Any,
    z: Any,
    z_at: Any,
    n: Any,
) -> Any:
    """out += tap * (((x + y) + z) * scale)."""

    def term(builder: Any, out: Any, scale: Any, tap: Any, x: Any, y: Any, z: Any) -> Any:
        whole = builder.fadd(builder.fadd(x, y), z)
        return builder.fadd(out, builder.fmul(tap, builder.fmul(whole, scale)))

    return _update((out, tap, x, y, z), term)


def _reduction(arrays: Any, term: Callable[..., Any]) -> Any:
    """An intrinsic (x, x_at, y, y_at, ..., n) that sums term(x.flat[x_at + i],
    y.flat[y_at + i], ...) over i < n.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        starts = [_start(context, builder, signature, args, i) for i in range(0, len(args) - 1, 2)]
        return _sum(
            builder,
            args[-1],
            lambda at: term(builder, *(_load(builder, start, at) for start in starts)),
        )

    places = [kind for array in arrays for kind in (array, types.int64)]
    return types.float32(*places, types.int64), generate


def _update(arrays: Any, term: Callable[..., Any]) -> Any:
    """An intrinsic (out, out_at, number, x, x_at, ..., n):
    out.flat[out_at + i] = term(itself, number, x..., ...).
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _start(context, builder, signature, args, 0)
        number = _splat(builder, args[2])
        starts = [_start(context, builder, signature, args, i) for i in range(3, len(args) - 1, 2)]
        with _steps(builder, args[-1]) as (at, _):
            values = (_load(builder, start, at) for start in starts)
            changed = term(builder, _load(builder, target, at), number, *values)
            builder.store(changed, _at(builder, target, at), align=4)
        return context.get_dummy_value()

    places = [kind for array in arrays for kind in (array, types.int64)]
    return types.void(*places[:2], types.float32, *places[2:], types.int64), generate


def _sum(builder: Any, size: Any, terms: Callable[[Any], Any]) -> Any:
    """The sum of the terms at each place below `size`, a multiple of LANES.

    Lane k sums the terms at places k, k + 16, ...; then lane k takes in lane k + 8, then k + 4, k +
    2 and k + 1.
    """
    sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
    with _steps(builder, size) as (place, _):
        builder.store(builder.fadd(builder.load(sums), terms(place)), sums)
    left = builder.load(sums)
    half = LANES // 2
    while half:
        lower, upper = (
            ir.Constant(ir.VectorType(ir.IntType(32), half), list(range(i, i + half)))
            for i in (0, half)
        )
        left = builder.fadd(
            *(builder.shuffle_vector(left, left, lanes) for lanes in (lower, upper))
        )
        half //= 2
    return builder.extract_element(left, ir.IntType(32)(0))


def _start(context: Any, builder: Any, signature: Any, args: Any, which: int) -> Any:
    """Pointer to the place that args[which + 1] names in the array args[which]."""
    data = context.make_array(signature.args[which])(context, builder, args[which]).data
    return builder.gep(data, [args[which + 1]])


def _steps(builder: Any, size: Any, step: int = LANES) -> Any:
    return cgutils.for_range_slice(builder, size.type(0), size, size.type(step), inc=True)


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


def _at(builder: Any, start: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(start, [place]), _VECTOR.as_pointer())


def _load(builder: Any, start: Any, place: Any) -> Any:
    return builder.load(_at(builder, start, place), align=4)


@intrinsic
def _matmul(_context: Any, x: Any, matrix: Any, rows: Any, y: Any) -> Any:
    """See `matmul`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = [
            context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 3)
        ]
        widths = [builder.extract_value(array.shape, 1) for array in arrays]
        n_in = builder.extract_value(arrays[1].shape, 0)
        with _steps(builder, args[2], TILE) as (row, _), _steps(builder, widths[1]) as (column, _):
            starts = [
                [
                    builder.gep(
                        arrays[i].data, [builder.mul(builder.add(row, row.type(r)), widths[i])]
                    )
                    for r in range(TILE)
                ]
                for i in (0, 2)
            ]
            weights = builder.gep(arrays[1].data, [column])
            outs = [builder.gep(start, [column]) for start in starts[1]]
            _add_products(builder, starts[0], weights, widths[1], n_in, outs)
        return context.get_dummy_value()

    return types.void(x, matrix, types.int64, y), generate


def _add_products(builder: Any, xs: Any, weights: Any, stride: Any, n_in: Any, outs: Any) -> None:
    """One tile: outs[r][:LANES] += xs[r][:n_in] @ weights,
    whose rows are `stride` apart; sums stay in registers.
    """
    zero = stride.type(0)
    sums = [cgutils.alloca_once_value(builder, _load(builder, out, zero)) for out in outs]
    with _steps(builder, n_in, 4) as (first, _):
        places = [builder.add(first, first.type(k)) for k in range(4)]
        rows = [_load(builder, weights, builder.mul(place, stride)) for place in places]
        for x, kept in zip(xs, sums, strict=True):
            factors = [_splat(builder, builder.load(builder.gep(x, [place]))) for place in places]
            products = [
                builder.fmul(factor, row) for factor, row in zip(factors, rows, strict=True)
            ]
            halves = builder.fadd(products[0], products[1]), builder.fadd(products[2], products[3])
            builder.store(builder.fadd(builder.load(kept), builder.fadd(*halves)), kept)
    for kept, out in zip(sums, outs, strict=True):
        builder.store(builder.load(kept), _at(builder, out, zero), align=4)


@kernel
def matmul(x, matrix, rows, y):
    """y[:rows, :n_out] += x[:rows, :n_in] @ matrix (n_in, n_out);
    n_in a multiple of 4, n_out of LANES.

    Four rows of the matrix at a time: y += (x0 m0 + x1 m1) + (x2 m2 + x3 m3), in order, alike for
    every row of x. All arrays are C-contiguous. Rows of x and y are taken TILE at a time, up to the
    next multiple of TILE, which both must have.
    """
    _matmul(x, matrix, rows, y)


@intrinsic
def prefetch(_context: Any, x: Any, x_at: Any, n: Any) -> Any:
    """Ask for x.flat[x_at : x_at + n], C-contiguous float32,
    to be in the cache soon; changes nothing.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = _start(context, builder, signature, args, 0)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [start.type, flag, flag, flag])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        with _steps(builder, args[2], LANES) as (place, _):
            builder.call(fetch, [builder.gep(start, [place]), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), generate


@piece
def inverse_root(mean_square):
    """1 / sqrt(mean_square + epsilon)."""
    return _ONE / np.float32(math.sqrt(mean_square + _EPSILON))


@kernel
def inverse_rms(x, size):
    """1 / sqrt(mean of squares + epsilon) of x[:size]."""
    return inverse_root(dot(x, 0, x, 0, size) / np.float32(size))


@kernel
def layer_norm(x, norm, size):
    """x[:size] normalised in place; norm (2, size) holds weight and bias."""
    mean = total(x, 0, size) / np.float32(size)
    for i in range(size):
        x[i] -= mean
    scale = inverse_rms(x, size)
    for i in range(size):
        x[i] = x[i] * scale * norm[0, i] + norm[1, i]
