"""What training minimises: next-item cross-entropy,
click log-loss and LREA's non-negativity, each with a weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from model.network.embedding import Sequences
from model.network.membership import Membership
from training.fit.softmax import Guide, Places, catalogue_loss
from training.measure.targets import ClickTargets


def next_item_loss(
    encoded: Tensor,
    events: Sequences,
    table: Tensor,
    bias: Tensor | None,
    membership: Membership | None,
    guide: Callable[[Tensor, Tensor], Guide] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean cross-entropy of event t + 1 under the softmax over the
    catalogue at t, over all positions.

    The logits are those of encodings (B, L, D) against table (V, D), plus bias (V,), plus
    membership's biases of what the histories hold. Targets outside the catalogue (hashed rows) and
    padding do not count. A share `smoothing` of each target is spread over the catalogue. `guide`
    is asked what teachers say at the positions that count, (B, L) bool, about seen items of some
    ages (p,).
    """
    targets = events.items[:, 1:]  # (B, L-1)
    usable = events.mask[:, 1:] & (targets < len(table))
    places, age = membership_places(
        membership, events, pad(usable, (0, 1)), len(table), encoded.dtype
    )
    said = None if guide is None else guide(pad(usable, (0, 1)), age)
    total = catalogue_loss(
        encoded[:, :-1][usable], table, bias, places, targets[usable], said, smoothing
    )
    return total / usable.sum().clamp(min=1)


def membership_places(
    membership: Membership | None, events: Sequences, usable: Tensor, items: int, dtype: torch.dtype
) -> tuple[Places, Tensor]:
    """What membership adds to the logits at the positions that are `usable` (B, L),
    one row each, and the ages (p,).
    """
    if membership is None:
        none = torch.zeros(0, dtype=torch.int64, device=usable.device)
        return Places(none, none, none.to(dtype)), none
    seen = membership.seen(events.items, events.mask & (events.items < items))
    row = usable.flatten().cumsum(0).sub(1).view_as(usable)  # (B, L)
    kept = usable[seen.user, seen.position] & (seen.age < membership.reach)
    user, position, item, age = (column[kept] for column in seen)
    return Places(
        row[user, position], item, membership.bias_of(membership.bucket(age)).to(dtype)
    ), age


def click_loss(logits: Tensor, targets: ClickTargets) -> Tensor:
    """Mean log-loss of candidates (B, Q, M) at valid positions."""
    each = binary_cross_entropy_with_logits(
        logits, targets.labels.to(logits.dtype), reduction="none"
    )
    weight = targets.valid[..., None].to(logits.dtype).expand_as(each)
    return (each * weight).sum() / weight.sum().clamp(min=1)
