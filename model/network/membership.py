"""History membership: whether a candidate is in the history at all, and how many events ago.

A compressed state cannot tell, yet it is the strongest single signal: where nothing repeats the
model learns to suppress what was seen, in groceries to promote it. Ages are counted in events since
the item was last seen (0 = the newest event) and bucketed by their number of bits. What is older
than ring and tail, or was never there, shares one bucket whose bias is 0, since a softmax does not
notice a constant.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import ModelConfig


def reach(config: ModelConfig) -> int:
    """How many events back membership can be answered: K + T."""
    return config.ring_length + config.tail_length


def buckets(config: ModelConfig) -> int:
    """Number of buckets, "older or never" (the last one) included."""
    return (reach(config) - 1).bit_length() + 2


class Seen(NamedTuple):
    """Items in histories, ordered by user and position; each (n,)."""

    user: Tensor
    position: Tensor  # from which is looked back
    item: Tensor  # row
    age: Tensor  # events since the item was last seen


class Membership(nn.Module):
    """One learned bias on the next-item logit per age bucket."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reach = reach(config)
        self.buckets = buckets(config)
        self.bias = nn.Parameter(torch.zeros(self.buckets - 1))

    def bucket(self, age: Tensor) -> Tensor:
        """Bucket of each age; ages below 0 or beyond the reach are "older or never"."""
        edges = torch.tensor([1 << bit for bit in range(self.buckets - 2)], device=age.device)
        outside = (age < 0) | (age >= self.reach)
        return torch.bucketize(age, edges, right=True).masked_fill(outside, self.buckets - 1)

    def bias_of(self, bucket: Tensor) -> Tensor:
        """Bias of each bucket, 0 for the last."""
        return torch.cat([self.bias, self.bias.new_zeros(1)])[bucket]

    def add_to(self, logits: Tensor, items: Tensor, mask: Tensor, *, exclude: bool) -> Tensor:
        """Add the biases to whole histories' logits (B, L, V);
        `exclude` rules out all seen items instead.
        """
        seen = self.seen(items, mask & (items < logits.shape[-1]))
        bias = (
            self.bias_of(self.bucket(seen.age))
            if not exclude
            else logits.new_full(seen.age.shape, -1e9)
        )
        return logits.index_put(
            (seen.user, seen.position, seen.item), bias.to(logits.dtype), accumulate=True
        )

    @staticmethod
    def seen(items: Tensor, usable: Tensor) -> Seen:
        """Each item last seen at or before each position of histories
        (B, L), where `usable` (B, L).
        """
        length = items.shape[1]
        position = torch.arange(length, device=items.device)
        same = items[:, :, None] == items[:, None, :]  # (B, t, t')
        later = position[None, :] > position[:, None]
        # (B, t): next occurrence
        following = torch.where(same & later, position[None, None, :], length).amin(dim=2)
        now = position[None, None, :]  # last axis: the position that looks back
        # (B, t, p)
        shown = (now >= position[:, None]) & (now < following[:, :, None]) & usable[:, :, None]
        user, p, t = shown.mT.nonzero(as_tuple=True)
        return Seen(user, p, items[user, t], p - t)

    def ages(self, items: Tensor, at: Tensor, candidates: Tensor) -> Tensor:
        """Age of candidates (B, Q, M) at the positions `at` (B,
        Q) in histories (B, L); -1 if never seen.
        """
        position = torch.arange(items.shape[1], device=items.device)
        past = position <= at[:, :, None]  # (B, Q, L)
        hit = (candidates[..., None] == items[:, None, None, :]) & past[:, :, None]  # (B, Q, M, L)
        last = torch.where(hit, position, -1).amax(dim=-1)  # (B, Q, M)
        return torch.where(last < 0, -1, at[:, :, None] - last)
