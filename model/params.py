"""The weights as the compiled fold, the reader and the scorer take them:
flat float32 arrays, projections pre-stored.

`model.network.absorb` makes them from a trained network; nothing here needs PyTorch, and neither
does serving.
"""

from __future__ import annotations

from typing import NamedTuple

from model.arrays import Floats
from model.config import ModelConfig

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

    item_input: Floats  # (V+U, D), each row's mean taken out, as for the next two
    action_input: Floats  # (A, D)
    gap_input: Floats  # (G, D)
    norm_input: Floats
    taps: Floats  # (K, D), times the input norm's weight
    taps_bias: Floats  # (K, D), row j: the input norm's bias times the sum of taps 0..j
    norm_filter: Floats
    window_query: Floats  # (D, D)
    window_key: Floats  # (V+U, D), pre-stored
    window_value: Floats  # (V+U, D), pre-stored
    window_out: Floats  # (D, D)
    window_bias: Floats  # (heads, K)
    norm_window: Floats
    in_gate: Floats  # (D, 2F)
    in_gate_bias: Floats  # (2F)
    in_out: Floats  # (F, D)
    in_out_bias: Floats  # (D)
    norm_in: Floats
    mix: Floats  # (D, E+2N+H), the last H columns drive the step sizes; padded to whole lanes
    dt_bias: Floats  # (H)
    rate: Floats  # A, (H)
    conv: Floats  # (W, E+2N), newest last
    conv_bias: Floats  # (E+2N)
    assign: Floats  # (D, R), padded to whole lanes
    assign_bias: Floats  # (R)
    slot_rate: Floats  # (R), per second
    # read-out only
    gate: Floats  # (D, E)
    skip: Floats  # (H)
    norm_ssm: Floats  # (E)
    ssm_out: Floats  # (E, D)
    norm_residual: Floats
    out_gate: Floats  # (D, 2F)
    out_gate_bias: Floats
    out_out: Floats  # (F, D)
    out_out_bias: Floats
    norm_out: Floats


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

    item: Floats  # (V+U, D)
    item_bias: Floats  # (V+U)
    popularity: Floats  # (V+U), log of the share of clicks, smoothed
    member_vote: Floats  # (age buckets) of an occurrence of that age, 0 for "older or never"
    member_often: Floats  # (buckets of the number of occurrences), 0 for none
    ring_query: Floats  # (V+U, D), pre-stored and scaled, the keys' projection absorbed
    ring_value: Floats  # (D, D)
    ring_bias: Floats  # (J), the newest events that the head attends over
    slot_query: Floats  # (V+U, D), pre-stored and scaled
    slot_key: Floats  # (D, D)
    slot_value: Floats  # (D, D)
    slot_mixing: Floats  # (R, R)
    head_item: Floats  # (V+U, Z), pre-stored, bias included
    head_user: Floats  # (D, Z)
    head_pair: Floats  # (5 D, Z)
    head_member: Floats  # (age buckets, Z)
    head_often: Floats  # (buckets of the number of occurrences, Z)
    head_recency: Floats  # (G, Z)
    head_count: Floats  # (count buckets, Z)
    head_next: Floats  # (Z)
    head_out: Floats  # (Z)
    head_scalars: Floats  # alpha, beta
    calibration: Floats  # (3, 2): slope and intercept of FULL, SEQUENCE, PRIOR
