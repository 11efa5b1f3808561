"""From a trained network to the arrays that serving uses.

Whatever depends on an item alone (the window's keys and values, queries, the head's item term) is
multiplied into a table once, here, and never again: LREA's matrix absorption and pre-storage. So is
the ring's projection to keys, which stands between queries of items and inputs of events: q (W x) =
(q W) x.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from model.arrays import Doubles, Floats
from model.kernels.vectors import LANES
from model.network.network import Network
from model.params import FoldParams, ScoreParams


def absorb(network: Network) -> FoldParams:
    """The fold's parameters of a trained network;
    parts that are switched off become arrays of one zero.
    """
    with torch.no_grad():
        return FoldParams(
            **{name: _array(value) for name, value in (_front(network) | _state(network)).items()}
        )


def _array(value: Tensor | None) -> Floats:
    if value is None:
        return np.zeros((1, 1), dtype=np.float32)
    return np.ascontiguousarray(value.detach().cpu().numpy(), dtype=np.float32)


def _centred(table: Tensor) -> Tensor:
    return table - table.mean(dim=1, keepdim=True)


def _padded(matrix: Tensor) -> Tensor:
    """Columns of zeros up to a multiple of the kernels' lanes."""
    return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % LANES))


def _norm(norm: nn.LayerNorm) -> Tensor:
    return torch.stack([norm.weight, norm.bias])


def _front(network: Network) -> dict[str, Tensor | None]:
    table = network.embedding
    window = network.window
    glu = network.input_glu
    item = table.item.weight
    return {
        "item_input": _centred(item),
        "action_input": _centred(table.action.weight),
        "gap_input": _centred(table.gap.weight),
        "norm_input": _norm(table.norm),
        "taps": network.filter.taps() * table.norm.weight if network.filter else None,
        "taps_bias": network.filter.taps().cumsum(dim=0) * table.norm.bias
        if network.filter
        else None,
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
    ssm = network.ssm
    slots = network.lowrank
    glu = network.output_glu
    return {
        "mix": _padded(torch.cat([ssm.mix.weight, ssm.step_size.weight]).mT),
        "dt_bias": ssm.dt_bias,
        "rate": ssm.log_A.exp(),
        "conv": ssm.conv.weight[:, 0].mT,
        "conv_bias": ssm.conv_bias(),
        "assign": _padded(slots.assign.weight.mT),
        "assign_bias": slots.assign.bias,
        "slot_rate": slots.log_rate.exp(),
        "gate": ssm.gate.weight.mT,
        "skip": ssm.skip,
        "norm_ssm": ssm.norm.weight,
        "ssm_out": ssm.out.weight.mT,
        "norm_residual": _norm(network.ssm_norm),
        "out_gate": glu.gate.weight.mT,
        "out_gate_bias": glu.gate.bias,
        "out_out": glu.out.weight.mT,
        "out_out_bias": glu.out.bias,
        "norm_out": _norm(glu.norm),
    }


def absorb_head(network: Network, counts: Doubles, calibration: Doubles) -> ScoreParams:
    """The scorer's parameters; counts (V) are clicks an item, of which level PRIOR answers, and
    calibration (3, 2) as in `ScoreParams`.
    """
    with torch.no_grad():
        values = _attentions(network) | _evidence(network)
    unknown = np.zeros(network.config.hashed_items, dtype=np.float64)
    share = (np.concatenate([counts, unknown]) + 0.5) / (
        counts.sum() + 0.5 * (len(counts) + len(unknown))
    )
    values["popularity"] = torch.from_numpy(np.log(share))
    values["calibration"] = torch.from_numpy(np.asarray(calibration))
    return ScoreParams(**{name: _array(value) for name, value in values.items()})


def _attentions(network: Network) -> dict[str, Tensor]:
    item = network.embedding.item.weight
    ring = network.ring
    slots = network.lowrank
    scale = item.shape[1] ** -0.5
    return {
        "item": item,
        "item_bias": network.item_bias,
        "member_vote": torch.cat([network.membership.bias.exp(), torch.zeros(1)]),
        "member_often": torch.cat([torch.zeros(1), network.membership.often]),
        "ring_query": ring.query(item) @ ring.key.weight * scale,
        "ring_value": ring.value.weight.mT,
        "ring_bias": ring.age_bias,
        "slot_query": slots.query(item) * scale,
        "slot_key": slots.key.weight.mT,
        "slot_value": slots.value.weight.mT,
        "slot_mixing": slots.mixing,
    }


def _evidence(network: Network) -> dict[str, Tensor]:
    head = network.evidence
    return {
        "head_item": head.item(network.embedding.item.weight),
        "head_user": head.user.weight.mT,
        "head_pair": head.pair.weight.mT,
        "head_member": head.member.weight,
        "head_often": head.often.weight,
        "head_recency": head.recency.weight,
        "head_count": head.count.weight,
        "head_next": head.next_item,
        "head_out": head.out,
        "head_scalars": torch.stack([head.alpha, head.beta]),
    }
