"""What training minimises: next-item cross-entropy, click log-loss and LREA's non-negativity, each with a weight."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from model.embedding import Sequences
from training.targets import ClickTargets


def next_item_loss(logits: Tensor, events: Sequences) -> Tensor:
    """Mean cross-entropy of event t + 1 under the softmax of logits (B, L, V) at t, over all positions.

    Targets outside the catalogue (hashed rows) and padding do not count.
    """
    targets = events.items[:, 1:]  # (B, L-1)
    usable = events.mask[:, 1:] & (targets < logits.shape[-1])
    wanted = torch.where(usable, targets, -100)
    total = cross_entropy(logits[:, :-1].flatten(0, 1), wanted.flatten(), reduction="sum", ignore_index=-100)
    return total / usable.sum().clamp(min=1)


def click_loss(logits: Tensor, targets: ClickTargets) -> Tensor:
    """Mean log-loss of candidates (B, Q, M) at valid positions."""
    each = binary_cross_entropy_with_logits(logits, targets.labels.to(logits.dtype), reduction="none")
    weight = targets.valid[..., None].to(logits.dtype).expand_as(each)
    return (each * weight).sum() / weight.sum().clamp(min=1)
