"""Cross-entropy over the whole catalogue without ever holding all its logits.

    loss = sum_r [ log sum_v exp z_rv - z_{r, y_r} ],   z = x W^T + b, and `extra` added at some places

The logits of a batch are by far its largest tensor (tokens x catalogue), and a step that keeps them passes over them a
dozen times. Here a few rows' logits at a time are formed, turned into their gradient where they stand, and multiplied
back into the gradients of x, W and b before the next rows come, while they are still in the cache. The same is done on
GPUs as "cut" or "fused linear" cross-entropy (arXiv 2411.09009). `plain` is the definition.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

ELEMENTS = 1 << 20  # logits at a time: 4 MiB of float32 stay near the core


class Places(NamedTuple):
    """p places of the logits and what is added there; rows do not decrease, no place comes twice."""

    row: Tensor  # (p,) int64
    item: Tensor  # (p,) int64
    extra: Tensor  # (p,)


def plain(x: Tensor, table: Tensor, bias: Tensor | None, places: Places, target: Tensor) -> Tensor:
    """The definition: x (n, D), table (V, D), bias (V,), target (n,) to a scalar."""
    logits = x @ table.mT if bias is None else x @ table.mT + bias  # (n, V)
    logits = logits.index_put((places.row, places.item), places.extra, accumulate=True)
    return cross_entropy(logits, target, reduction="sum")


def catalogue_loss(x: Tensor, table: Tensor, bias: Tensor | None, places: Places, target: Tensor) -> Tensor:
    """`plain`, a few rows at a time, with equal gradients."""
    loss: Tensor = _CatalogueLoss.apply(x, table, bias, *places, target)
    return loss


class _CatalogueLoss(torch.autograd.Function):
    """Gradients are made with the loss, as a scalar's only differ by a factor; `backward` multiplies it in."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        table: Tensor,
        bias: Tensor | None,
        row: Tensor,
        item: Tensor,
        extra: Tensor,
        target: Tensor,
    ) -> Tensor:
        size = max(1, ELEMENTS // len(table))
        starts = torch.arange(0, len(x) + size, size, device=x.device)
        cuts = torch.searchsorted(row, starts).tolist()
        loss, of_x, of_table = x.new_zeros(()), torch.empty_like(x), torch.zeros_like(table)
        of_bias, of_extra = x.new_zeros(len(table)), torch.empty_like(extra)
        work = x.new_empty(min(size, len(x)), len(table))
        for number, start in enumerate(range(0, len(x), size)):
            rows, wanted = x[start : start + size], target[start : start + size, None]
            at = slice(cuts[number], cuts[number + 1])
            where = row[at] - start, item[at]
            logits = torch.mm(rows, table.mT, out=work[: len(rows)])  # (m, V)
            if bias is not None:
                logits += bias
            logits.index_put_(where, extra[at], accumulate=True)
            peak = logits.amax(dim=1, keepdim=True)
            own = logits.gather(1, wanted) - peak
            mass = logits.sub_(peak).exp_().sum(dim=1, keepdim=True)
            loss += (mass.log() - own).sum()
            logits /= mass
            logits.scatter_add_(1, wanted, torch.full_like(own, -1.0))  # softmax - one-hot
            of_extra[at] = logits[where]
            torch.mm(logits, table, out=of_x[start : start + size])
            of_table.addmm_(logits.mT, rows)
            of_bias += logits.sum(dim=0)
        ctx.save_for_backward(of_x, of_table, of_bias if bias is not None else None, of_extra)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_table, of_bias, of_extra = (None if each is None else each * outer[0] for each in ctx.saved_tensors)
        return of_x, of_table, of_bias, None, None, of_extra, None
