"""The weights as the compiled fold and reader take them: flat float32 arrays, items' projections pre-stored.

`absorb` makes them from a trained network. Whatever depends on an item alone (window and ring keys and values, queries,
the head's item term) is multiplied into a table once, here, and never again: LREA's matrix absorption and pre-storage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network import Network

Array = npt.NDArray[np.float32]


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
    T: int
    R: int
    F: int  # inner width of the GLUs
    G: int  # gap buckets
    window_heads: int
    filter: int
    window: int
    input_glu: int
    echo: int
    scalar: int
    int8: int
    drop_duplicates: int


class FoldParams(NamedTuple):
    """Everything that the fold and the reader multiply with. Matrices are (in, out); norms are (2, n): weight, bias."""

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
    mix: Array  # (D, E+2N)
    step_size: Array  # (D, H)
    dt_spread: Array  # (H, E) for the diagonal transition
    dt_bias: Array  # (H) or (E)
    rate: Array  # A: (1, H) or (N, E)
    conv: Array  # (W, E+2N), newest last
    conv_bias: Array  # (E+2N)
    echo_gamma: Array  # (H)
    assign: Array  # (D, R)
    assign_bias: Array  # (R)
    slot_rate: Array  # (R), per second
    # read-out only
    gate: Array  # (D, E)
    skip: Array  # (H)
    norm_ssm: Array  # (E)
    ssm_out: Array  # (E, D)
    echo_weight: Array  # (H)
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
        T=config.tail_length,
        R=config.slots,
        F=config.glu_expand * config.width,
        G=config.gap_buckets,
        window_heads=config.window_heads,
        filter=int(config.spectral_filter),
        window=int(config.window_attention),
        input_glu=int(config.input_glu),
        echo=int(config.echo),
        scalar=int(config.transition == "scalar"),
        int8=int(config.state_dtype == "int8"),
        drop_duplicates=int(config.drop_duplicates),
    )


def absorb(network: Network) -> FoldParams:
    """The fold's parameters of a trained network; parts that are switched off become arrays of one zero."""
    with torch.no_grad():
        return FoldParams(**{name: _array(value) for name, value in (_front(network) | _state(network)).items()})


def _array(value: Tensor | None) -> Array:
    if value is None:
        return np.zeros((1, 1), dtype=np.float32)
    return np.ascontiguousarray(value.detach().cpu().numpy(), dtype=np.float32)


def _centred(table: Tensor) -> Tensor:
    return table - table.mean(dim=1, keepdim=True)


def _norm(norm: nn.LayerNorm) -> Tensor:
    return torch.stack([norm.weight, norm.bias])


def _front(network: Network) -> dict[str, Tensor | None]:
    table, window, glu = network.embedding, network.window, network.input_glu
    item = table.item.weight
    return {
        "item_input": _centred(item),
        "action_input": _centred(table.action.weight),
        "gap_input": _centred(table.gap.weight),
        "norm_input": _norm(table.norm),
        "taps": network.filter.taps() * table.norm.weight if network.filter else None,
        "taps_bias": network.filter.taps().cumsum(dim=0) * table.norm.bias if network.filter else None,
        "norm_filter": _norm(network.filter.norm) if network.filter else None,
        "window_query": window.query.weight.mT if window else None,
        "window_key": window.key(item) if window else None,
        "window_value": window.value(item) if window else None,
        "window_out": window.out.weight.mT if window else None,
        "window_bias": window.age_bias if window else None,
        "norm_window": _norm(window.norm) if window else None,
        "in_gate": glu.gate.weight.mT if glu else None,
        "in_gate_bias": glu.gate.bias if glu else torch.zeros(1),
        "in_out": glu.out.weight.mT if glu else None,
        "in_out_bias": glu.out.bias if glu else torch.zeros(1),
        "norm_in": _norm(glu.norm) if glu else None,
    }


def _state(network: Network) -> dict[str, Tensor | None]:
    ssm, slots, glu, echo = network.ssm, network.lowrank, network.output_glu, network.ssm.echo
    rate = ssm.log_A.exp()
    return {
        "mix": ssm.mix.weight.mT,
        "step_size": ssm.step_size.weight.mT,
        "dt_spread": None if ssm.scalar else ssm.dt_spread.weight.mT,
        "dt_bias": ssm.dt_bias,
        "rate": rate[None] if ssm.scalar else rate.mT,
        "conv": ssm.conv.weight[:, 0].mT,
        "conv_bias": ssm.conv.bias,
        "echo_gamma": echo.gamma() if echo else torch.zeros(1),
        "assign": slots.assign.weight.mT,
        "assign_bias": slots.assign.bias,
        "slot_rate": slots.log_rate.exp(),
        "gate": ssm.gate.weight.mT,
        "skip": ssm.skip,
        "norm_ssm": ssm.norm.weight,
        "ssm_out": ssm.out.weight.mT,
        "echo_weight": echo.weights() if echo else torch.zeros(1),
        "norm_residual": _norm(network.ssm_norm),
        "out_gate": glu.gate.weight.mT,
        "out_gate_bias": glu.gate.bias,
        "out_out": glu.out.weight.mT,
        "out_out_bias": glu.out.bias,
        "norm_out": _norm(glu.norm),
    }
