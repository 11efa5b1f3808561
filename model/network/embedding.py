"""Input of the model: item, action and time gap of one event, added and normalised.

x_t = LayerNorm(item[i_t] + action[a_t] + gap[bucket(t)])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import ModelConfig


class Sequences(NamedTuple):
    """Histories of B users, padded at the end to L events."""

    items: Tensor  # (B, L) int64, item rows: below V in the catalogue, from V on hashed rows
    actions: Tensor  # (B, L) int64, action ids
    times_ms: Tensor  # (B, L) int64, not decreasing within a user
    mask: Tensor  # (B, L) bool, true for real events
    # (B, 2) int64, of windows that begin in the middle of a history: the user's events before the
    # first one here, and milliseconds since the last of them; None or zeros: nothing came before
    before: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        """The same histories, with every column changed."""
        items, actions, times_ms, mask = (change(column) for column in self[:4])
        before = None if self.before is None else change(self.before)
        return Sequences(items, actions, times_ms, mask, before)


def gap_bucket(gap_ms: Tensor, buckets: int) -> Tensor:
    """Bucket of a time gap: the number of bits of its whole seconds, at most `buckets - 2`.

    Integers only, so every machine agrees. The last bucket, `buckets - 1`, is kept for a user's
    first event.
    """
    edges = torch.tensor([1 << bit for bit in range(buckets - 2)], device=gap_ms.device)
    return torch.bucketize(gap_ms.clamp(min=0) // 1000, edges, right=True)


def gaps_of(batch: Sequences, buckets: int) -> Tensor:
    """Gap bucket (B, L) of each event; only a user's very first one has the last bucket."""
    bucket = gap_bucket(batch.times_ms.diff(dim=1), buckets)  # (B, L-1)
    first = torch.full_like(batch.times_ms[:, :1], buckets - 1)
    if batch.before is not None:
        count, gap_ms = batch.before.split(1, dim=1)  # (B, 1) each
        first = torch.where(count > 0, gap_bucket(gap_ms, buckets), first)
    return torch.cat([first, bucket], dim=1)  # (B, L)


class Embedding(nn.Module):
    """Three tables and one normalisation."""

    def __init__(self, config: ModelConfig, items: int) -> None:
        super().__init__()
        self.item = nn.Embedding(items + config.hashed_items, config.width)
        self.action = nn.Embedding(len(config.actions), config.width)
        self.gap = nn.Embedding(config.gap_buckets, config.width)
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.item.weight, std=0.02)
        nn.init.normal_(self.action.weight, std=0.005)
        nn.init.normal_(self.gap.weight, std=0.005)

    def forward(self, items: Tensor, actions: Tensor, gaps: Tensor) -> Tensor:
        """Indices of any shape (...) to inputs (..., D)."""
        # (..., D)
        summed: Tensor = self.norm(self.item(items) + self.action(actions) + self.gap(gaps))
        return summed
