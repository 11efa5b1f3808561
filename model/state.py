"""The bytes of one user state.

A state is one row of `row_bytes` bytes in a C-contiguous uint8 matrix (capacity, row_bytes), so a
snapshot, a cold tier or a digest handles it without knowing what is inside. Kernels look at the
same memory through typed views (`views`), addressed by the offsets of `StateLayout`. All zeros is
the state of a user without events.

Dimension letters: see `model.config`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.arrays import Bytes
from model.config import ModelConfig


class StateLayout(NamedTuple):
    """Byte offsets of the parts of a row;
    every part starts at a multiple of 4, the row ends at one of 8.

    Parts marked i8 and i16 hold f32 instead where `state_dtype` is float32; their scales are then
    unused. i16 is i8 where `ssm_bits` is 8. A scale that is 0 means that its whole group is 0.
    """

    last_time: int  # i64: event time of the newest event, ms since 1970
    events: int  # u32: events folded so far
    ring_items: int  # u32 (K): item rows, position = event number mod K
    # u32 (K): low 32 bits of the event times in ms, absent without `drop_duplicates`
    ring_times: int
    ring_actions: int  # u8 (K)
    ring_gaps: int  # u8 (K): bucket of the gap before each event
    tail: int  # u16 (T): fingerprints of the items that left the ring
    conv_scale: int  # f32 (W)
    conv: int  # i8 (W, E + 2N): the last W inputs of the short convolution
    ssm_scale: int  # f32 (H)
    ssm: int  # i16 (N, E)
    slot_scale: int  # f32 (R)
    slot_mass: int  # f32 (R)
    slots: int  # i8 (R, D)
    row_bytes: int


def layout(config: ModelConfig) -> StateLayout:
    """Lay out the row of one user for `config`."""
    number = 1 if config.state_dtype == "int8" else 4
    conv_channels = config.inner + 2 * config.state_size
    ssm_bytes = (
        config.inner
        * config.state_size
        * (config.ssm_bits // 8 if config.state_dtype == "int8" else 4)
    )
    sizes = (
        8,  # last_time
        8,  # events, then 4 reserved bytes
        4 * config.ring_length,
        4 * config.ring_length * int(config.drop_duplicates),
        config.ring_length,
        config.ring_length,
        2 * config.tail_length,
        4 * config.conv_width,
        config.conv_width * conv_channels * number,
        4 * config.heads,
        ssm_bytes,
        4 * config.slots,
        4 * config.slots,
        config.slots * config.width * number,
    )
    offsets = []
    position = 0
    for size in sizes:
        offsets.append(position)
        position += -(-size // 4) * 4
    return StateLayout._make([*offsets, -(-position // 8) * 8])


class RowViews(NamedTuple):
    """One matrix of rows seen as each of the types it holds; all share memory with `u8`."""

    u8: npt.NDArray[np.uint8]
    i8: npt.NDArray[np.int8]
    i16: npt.NDArray[np.int16]
    u16: npt.NDArray[np.uint16]
    u32: npt.NDArray[np.uint32]
    f32: npt.NDArray[np.float32]
    i64: npt.NDArray[np.int64]


def views(rows: Bytes) -> RowViews:
    """See `rows` (capacity, row_bytes) as every type that a row holds."""
    return RowViews(
        rows,
        rows.view(np.int8),
        rows.view(np.int16),
        rows.view(np.uint16),
        rows.view(np.uint32),
        rows.view(np.float32),
        rows.view(np.int64),
    )


def zeros(config: ModelConfig, users: int) -> Bytes:
    """`users` states without any event."""
    return np.zeros((users, layout(config).row_bytes), dtype=np.uint8)


def widen(row: Bytes, config: ModelConfig) -> Bytes:
    """One state (row_bytes,) of an int8 `config` as the float32 model's row that reads the same."""
    exact = dataclasses.replace(config, state_dtype="float32")
    start = layout(config)
    stop = layout(exact)
    wide = zeros(exact, 1)
    held = views(np.array(row)[None])
    out = views(wide)
    numbers = held.i16 if config.ssm_bits == 16 else held.i8
    H = config.heads
    N = config.state_size
    P = config.head_dim
    R = config.slots
    D = config.width
    out.u8[0, : stop.conv_scale] = held.u8[0, : start.conv_scale]
    conv = (config.conv_width, 1, config.inner + 2 * N)
    _write_out(held, held.i8, out, (start.conv_scale, start.conv), stop.conv, conv)
    _write_out(held, numbers, out, (start.ssm_scale, start.ssm), stop.ssm, (N, H, P))
    _write_out(held, held.i8, out, (start.slot_scale, start.slots), stop.slots, (R, 1, D))
    _copy(held, out, start.slot_mass, stop.slot_mass, R)
    return wide[0]


def _write_out(
    held: RowViews,
    numbers: npt.NDArray[np.integer],
    out: RowViews,
    places: tuple[int, int],
    to: int,
    shape: tuple[int, int, int],
) -> None:
    """Numbers of `shape` at places[1] times their scales at places[0]:
    one a head (middle axis), else one a row.
    """
    scales = places[0] // 4
    start = places[1] // numbers.itemsize
    size = int(np.prod(shape))
    groups = shape[1] if shape[1] > 1 else shape[0]
    whole = numbers[0, start : start + size].astype(np.float32).reshape(shape)
    scale = held.f32[0, scales : scales + groups].reshape(
        (1, -1, 1) if shape[1] > 1 else (-1, 1, 1)
    )
    out.f32[0, to // 4 : to // 4 + size] = (whole * scale).ravel()


def _copy(held: RowViews, out: RowViews, start: int, to: int, count: int) -> None:
    out.f32[0, to // 4 : to // 4 + count] = held.f32[0, start // 4 : start // 4 + count]
