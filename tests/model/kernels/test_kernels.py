"""Elementary functions, sums and rounding of the compiled fold."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from model.kernels.elementary import exp, sigmoid, silu, softplus
from model.kernels.quantize import LARGEST, LARGEST_16, centre, largest, seed_of, store_scaled
from model.kernels.vectors import (
    LANES,
    TILE,
    add_filtered,
    add_scaled,
    dot,
    layer_norm,
    matmul,
    prefetch,
    squares,
    total,
)

WIDE = np.linspace(-87, 88, 400_001, dtype=np.float32)


def applied(function: object, x: np.ndarray) -> np.ndarray:
    """`function` on a copy of x."""
    out = x.copy()
    function(out, len(out))  # type: ignore[operator]
    return out


def test_exp_is_within_its_bound() -> None:
    """Relative error below 3e-7 over the whole range; outside it is clamped, not infinite."""
    assert np.abs(applied(exp, WIDE) / np.exp(WIDE.astype(np.float64)) - 1).max() < 3e-7
    assert np.isfinite(applied(exp, np.float32([-1e9, 1e9]))).all()


@pytest.mark.parametrize(
    ("compiled", "exact"),
    [
        (sigmoid, lambda x: 1 / (1 + np.exp(-x))),
        (softplus, lambda x: np.logaddexp(0, x)),
        (silu, lambda x: x / (1 + np.exp(-x))),
    ],
)
def test_sigmoid_and_softplus_are_within_their_bounds(compiled: object, exact: object) -> None:
    """Absolute error below 1e-6 on [-30, 30] (3e-6 for silu, whose values reach 30)."""
    x = np.linspace(-30, 30, 100_001, dtype=np.float32)
    assert np.abs(applied(compiled, x) - exact(x.astype(np.float64))).max() < 3e-6  # type: ignore[operator]


@njit
def sums(x, y, z):  # type: ignore[no-untyped-def]
    """Of the second halves: dot product, sum, squares of the three added;
    then their scaled sum and their filtered.
    """
    half = len(x) // 2
    prefetch(x, half, half)
    scaled = y.copy()
    filtered = y.copy()
    add_scaled(scaled, half, np.float32(0.5), x, half, half)
    add_filtered(filtered, half, np.float32(0.5), z, half, x, half, y, half, z, half, half)
    square = squares(x, half, y, half, z, half, half)
    return dot(x, half, y, half, half), total(x, half, half), square, scaled, filtered


def in_order(terms: np.ndarray) -> np.float32:
    """Sixteen lanes, then halves: lane k takes in k + 8, then k + 4, k + 2, k + 1."""
    lanes = np.zeros(LANES, np.float32)
    for i in range(0, len(terms), LANES):
        lanes += terms[i : i + LANES]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return np.float32(lanes[0])


def test_lanes_sum_in_the_documented_order() -> None:
    """Every sum and update, to the bit, beside its definition;
    what lies outside its places is left alone.
    """
    random = np.random.default_rng(0)
    x, y, z = random.normal(size=(3, 96)).astype(np.float32)
    product, whole, square, scaled, filtered = sums(x, y, z)
    right = slice(48, 96)
    half = np.float32(0.5)
    added = (x + y) + z
    assert product == in_order((x * y)[right])
    assert whole == in_order(x[right])
    assert square == in_order((added * added)[right])
    np.testing.assert_array_equal(scaled[right], (y + half * x)[right])
    np.testing.assert_array_equal(filtered[right], (y + z * (added * half))[right])
    np.testing.assert_array_equal(scaled[:48], y[:48])
    np.testing.assert_array_equal(filtered[:48], y[:48])


@pytest.mark.parametrize("rows", [1, TILE, 2 * TILE])
def test_products_add_four_rows_at_a_time(rows: int) -> None:
    """y += (x0 m0 + x1 m1) + (x2 m2 + x3 m3), row blocks in order,
    to the bit and alike for every row of x.
    """
    random = np.random.default_rng(0)
    x = random.normal(size=(2 * TILE, 64)).astype(np.float32)
    matrix = random.normal(size=(64, 48)).astype(np.float32)
    got = np.ones((2 * TILE, 50), np.float32)
    matmul(x, matrix, rows, got)
    expected = np.ones((2 * TILE, 48), np.float32)
    for i in range(0, 64, 4):
        a, b, c, d = (x[:, i + k, None] * matrix[i + k] for k in range(4))
        expected += (a + b) + (c + d)
    np.testing.assert_array_equal(got[:rows, :48], expected[:rows])
    np.testing.assert_allclose(got[:rows, :48], 1 + x[:rows] @ matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got[:, 48:], 1)


def test_norm_agrees_with_numpy() -> None:
    """Normalisation is right to float32."""
    x = np.random.default_rng(0).normal(size=64).astype(np.float32)
    norm = np.stack([np.full(64, 2.0), np.ones(64)]).astype(np.float32)
    normal = x.copy()
    layer_norm(normal, norm, 64)
    np.testing.assert_allclose(
        normal, 2 * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + 1, rtol=1e-4, atol=1e-5
    )


def test_rounding_is_unbiased_and_repeatable() -> None:
    """The mean of many roundings is the number;
    the same user and offset round the same way, others do not.
    """
    values = np.full(4096, 3.3, np.float32)
    out = np.zeros((2, 4096), np.int8)
    store_scaled(values, np.float32(1), 4096, out, 0, 0, seed_of(7, 9))
    assert set(out[0].tolist()) == {3, 4}
    assert abs(out[0].mean() - 3.3) < 0.03
    store_scaled(values, np.float32(1), 4096, out, 1, 0, seed_of(7, 9))
    assert (out[0] == out[1]).all()
    store_scaled(values, np.float32(1), 4096, out, 1, 0, seed_of(7, 10))
    assert (out[0] != out[1]).any()


def test_whole_numbers_stay_exact() -> None:
    """A value that is a whole multiple of its scale is not touched by rounding."""
    values = np.arange(-127, 128, dtype=np.float32)
    out = np.zeros((1, 255), np.int8)
    store_scaled(values, np.float32(1), 255, out, 0, 0, seed_of(1, 1))
    assert out[0].tolist() == list(range(-127, 128))


@pytest.mark.parametrize("top", [LARGEST, LARGEST_16])
@pytest.mark.parametrize("most", [1e-20, 0.4, 63.5, 63.6, 127, 127.1, 5e9])
def test_groups_are_centred_by_powers_of_two(most: float, top: np.float32) -> None:
    """The largest magnitude lands in the upper half of the range and scale * value is kept."""
    factor, scale = centre(np.float32(most), np.float32(0.25), top)
    assert top / 2 < most * factor <= top
    assert np.log2(factor) == np.round(np.log2(factor))
    assert factor * scale == 0.25


def test_an_empty_group_has_scale_zero() -> None:
    """Nothing but zeros is stored as scale 0."""
    assert centre(np.float32(0), np.float32(1), LARGEST) == (0, 0)
    assert largest(np.zeros(8, np.float32), 0, 8) == 0
