"""Cross-entropy over the whole catalogue without ever holding all its logits.

    loss = sum_r [ log sum_v exp z_rv - z_{r, y_r} ], z = x W^T + b, and `extra` added at some
    places

The logits of a batch are by far its largest tensor (tokens x catalogue), and a step that keeps them
passes over them a dozen times. Here a few rows' logits at a time are formed, turned into their
gradient where they stand, and multiplied back into the gradients of x, W and b before the next rows
come, while they are still in the cache. The same is done on GPUs as "cut" or "fused linear"
cross-entropy (arXiv 2411.09009). `plain` is the definition.

With a guide, another model whose logits have the same form, its whole softmax q is learned beside
the one target (knowledge distillation, arXiv 1503.02531), with the weight w:

    loss = sum_r [ log sum_v exp z_rv - (1 - w) z_{r, y_r} - w sum_v q_rv z_rv ]

Label smoothing spreads a share s of the target evenly over the catalogue (arXiv 1512.00567), which
adds s sum_r [ z_{r, y_r} - mean_v z_rv ]: no logits are needed for that, as a mean of products is a
product with the mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding

ELEMENTS = 1 << 20  # logits at a time: 4 MiB of float32 stay near the core


class Places(NamedTuple):
    """p places of the logits and what is added there;
    rows do not decrease, no place comes twice.
    """

    row: Tensor  # (p,) int64
    item: Tensor  # (p,) int64
    extra: Tensor  # (p,)


class Guide(NamedTuple):
    """Another model's x, W, b and extras for the same rows and places,
    and the weight of its word.
    """

    x: Tensor  # (n, D')
    table: Tensor  # (V, D')
    bias: Tensor  # (V,)
    extra: Tensor  # (p,)
    weight: float


def plain(
    x: Tensor,
    table: Tensor,
    bias: Tensor | None,
    places: Places,
    target: Tensor,
    guide: Guide | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """The definition: x (n, D), table (V, D), bias (V,), target (n,) to a scalar."""
    logits = x @ table.mT if bias is None else x @ table.mT + bias  # (n, V)
    logits = logits.index_put((places.row, places.item), places.extra, accumulate=True)
    loss = cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
    if guide is None:
        return loss
    others = (guide.x @ guide.table.mT + guide.bias).index_put(
        (places.row, places.item), guide.extra, accumulate=True
    )
    return (1 - guide.weight) * loss + guide.weight * cross_entropy(
        logits, others.softmax(dim=1), reduction="sum"
    )


def catalogue_loss(
    x: Tensor,
    table: Tensor,
    bias: Tensor | None,
    places: Places,
    target: Tensor,
    guide: Guide | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """`plain`, a few rows at a time, with equal gradients; none flow into a guide."""
    loss: Tensor = _CatalogueLoss.apply(x, table, bias, *places, target, guide)
    if smoothing:
        own = smoothing * (1.0 if guide is None else 1.0 - guide.weight)
        loss = loss + own * _above_mean(x, table, bias, places, target)
    return loss


def _above_mean(
    x: Tensor, table: Tensor, bias: Tensor | None, places: Places, target: Tensor
) -> Tensor:
    """How far the targets' logits lie above the mean logit of their rows, summed over the rows."""
    above = torch.linalg.vecdot(x, embedding(target, table) - table.mean(dim=0)).sum()
    if bias is not None:
        above = above + (bias[target] - bias.mean()).sum()
    wanted = (places.item == target[places.row]).to(x.dtype)
    return above + ((wanted - 1.0 / len(table)) * places.extra).sum()


class _CatalogueLoss(torch.autograd.Function):
    """Gradients are made with the loss,
    as a scalar's only differ by a factor; `backward` multiplies it in.
    """

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
        guide: Guide | None,
    ) -> Tensor:
        size = max(1, ELEMENTS // len(table))
        starts = torch.arange(0, len(x) + size, size, device=x.device)
        cuts = torch.searchsorted(row, starts).tolist()
        loss = x.new_zeros(())
        of_x = torch.empty_like(x)
        of_table = torch.zeros_like(table)
        of_bias = x.new_zeros(len(table))
        of_extra = torch.empty_like(extra)
        work = x.new_empty(1 if guide is None else 2, min(size, len(x)), len(table))
        for number, start in enumerate(range(0, len(x), size)):
            part = slice(start, start + size)
            at = slice(cuts[number], cuts[number + 1])
            where = row[at] - start, item[at]
            logits = _logits(x[part], table, bias, where, extra[at], work[0])  # (m, V)
            others = None if guide is None else _others(guide, part, at, where, work[1])
            loss += _to_gradient(
                logits, target[part, None], others, 0.0 if guide is None else guide.weight
            )
            of_extra[at] = logits[where]
            torch.mm(logits, table, out=of_x[part])
            of_table.addmm_(logits.mT, x[part])
            of_bias += logits.sum(dim=0)
        ctx.save_for_backward(of_x, of_table, of_bias if bias is not None else None, of_extra)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_table, of_bias, of_extra = (
            None if each is None else each * outer[0] for each in ctx.saved_tensors
        )
        return of_x, of_table, of_bias, None, None, of_extra, None, None


Where = tuple[Tensor, Tensor]


def _logits(
    x: Tensor, table: Tensor, bias: Tensor | None, where: Where, extra: Tensor, work: Tensor
) -> Tensor:
    logits = torch.mm(x, table.mT, out=work[: len(x)])
    if bias is not None:
        logits += bias
    return logits.index_put_(where, extra, accumulate=True)


def _others(guide: Guide, part: slice, at: slice, where: Where, work: Tensor) -> Tensor:
    """The guide's softmax q (m, V)."""
    logits = _logits(guide.x[part], guide.table, guide.bias, where, guide.extra[at], work)
    logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
    return logits.div_(logits.sum(dim=1, keepdim=True))


def _to_gradient(logits: Tensor, wanted: Tensor, others: Tensor | None, weight: float) -> Tensor:
    """Turn logits (m, V) into the loss's gradient in place,
    softmax - (1 - w) one-hot - w q; returns the loss.
    """
    logits -= logits.amax(dim=1, keepdim=True)
    shown = (1 - weight) * logits.gather(1, wanted)  # (m, 1)
    if others is not None:
        shown += weight * torch.linalg.vecdot(others, logits)[:, None]
    mass = logits.exp_().sum(dim=1, keepdim=True)
    logits /= mass
    logits.scatter_add_(1, wanted, torch.full_like(shown, weight - 1.0))
    if others is not None:
        logits.sub_(others, alpha=weight)
    return (mass.log() - shown).sum()
