"""The weights as the compiled fold, the reader and the scorer take them:
flat float32 arrays, projections pre-stored.

`model.network.absorb` makes them from a trained network; nothing here needs PyTorch, and neither
does serving.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.config import ModelConfig

Array = npt.NDArray[np.float32]
EPSILON = 0.01  # mass below which a slot of the low-rank cache counts as empty
SLOPE = 0.01  # of leaky ReLU, LREA's phi


class Sizes(NamedTuple):
    """Dimensions and switches as integers, in the letters of `model.config`."""

    D: int
    E: int
    H: int
    P: int
    shift: int  # log2 P: channel e belongs to head e >> shift
    N: int
    W: int
    K: int
    J: int
    T: int
    R: int
    F: int  # inner width of the GLUs
    G: int  # gap buckets
    window_heads: int
    filter: int
    window: int
    input_glu: int
    int8: int
    ssm16: int
    drop_duplicates: int


class FoldParams(NamedTuple):
    """Everything that the fold and the reader multiply with. Matrices are (in, out);
    norms are (2, n): weight, bias.
    """

    item_input: Array  # (V+U, D), each row's mean taken out, as for the next two
    action_input: Array  # (A, D)
    gap_input: Array  # (G, D)
    norm_input: Array
    taps: Array  # (K, D), times the input norm's weight
    taps_bias: Array  # (K, D), row j: the input norm's bias times the sum of taps 0..j
    norm_filter: Array
    window_query: Array  # (D, D)
    window_key: Array  # (V+U, D), pre-stored
    window_value: Array  # (V+U, D), pre-stored
    window_out: Array  # (D, D)
    window_bias: Array  # (heads, K)
    norm_window: Array
    in_gate: Array  # (D, 2F)
    in_gate_bias: Array  # (2F)
    in_out: Array  # (F, D)
    in_out_bias: Array  # (D)
    norm_in: Array
    mix: Array  # (D, E+2N+H), the last H columns drive the step sizes; padded to whole lanes
    dt_bias: Array  # (H)
    rate: Array  # A, (H)
    conv: Array  # (W, E+2N), newest last
    conv_bias: Array  # (E+2N)
    assign: Array  # (D, R), padded to whole lanes
    assign_bias: Array  # (R)
    slot_rate: Array  # (R), per second
    # read-out only
    gate: Array  # (D, E)
    skip: Array  # (H)
    norm_ssm: Array  # (E)
    ssm_out: Array  # (E, D)
    norm_residual: Array
    out_gate: Array  # (D, 2F)
    out_gate_bias: Array
    out_out: Array  # (F, D)
    out_out_bias: Array
    norm_out: Array


def sizes_of(config: ModelConfig) -> Sizes:
    """Dimensions and switches of `config`."""
    return Sizes(
        D=config.width,
        E=config.inner,
        H=config.heads,
        P=config.head_dim,
        shift=config.head_dim.bit_length() - 1,
        N=config.state_size,
        W=config.conv_width,
        K=config.ring_length,
        J=config.attended,
        T=config.tail_length,
        R=config.slots,
        F=config.glu_expand * config.width,
        G=config.gap_buckets,
        window_heads=config.window_heads,
        filter=int(config.spectral_filter),
        window=int(config.window_attention),
        input_glu=int(config.input_glu),
        int8=int(config.state_dtype == "int8"),
        ssm16=int(config.ssm_bits == 16),
        drop_duplicates=int(config.drop_duplicates),
    )


class ScoreParams(NamedTuple):
    """Everything that scoring multiplies with, beside a reading of the state."""

    item: Array  # (V+U, D)
    item_bias: Array  # (V+U)
    popularity: Array  # (V+U), log of the share of clicks, smoothed
    member_bias: Array  # (age buckets), 0 for "older or never"
    ring_query: Array  # (V+U, D), pre-stored and scaled, the keys' projection absorbed
    ring_value: Array  # (D, D)
    ring_bias: Array  # (J), the newest events that the head attends over
    slot_query: Array  # (V+U, D), pre-stored and scaled
    slot_key: Array  # (D, D)
    slot_value: Array  # (D, D)
    slot_mixing: Array  # (R, R)
    head_item: Array  # (V+U, Z), pre-stored, bias included
    head_user: Array  # (D, Z)
    head_pair: Array  # (5 D, Z)
    head_member: Array  # (age buckets, Z)
    head_recency: Array  # (G, Z)
    head_count: Array  # (count buckets, Z)
    head_next: Array  # (Z)
    head_out: Array  # (Z)
    head_scalars: Array  # alpha, beta
    calibration: Array  # (3, 2): slope and intercept of FULL, SEQUENCE, PRIOR
