"""History membership: whether a candidate is in the history, how many events ago, and how often.

A compressed state cannot tell, yet it is the strongest single signal: where nothing repeats the
model learns to suppress what was seen, in groceries to promote it. Ages are counted in events since
an occurrence (0 = the newest event) and bucketed by their number of bits. Each occurrence of an
item casts a vote that its age weighs:

    bias(i) = log sum_j exp(w[bucket(age_j)]) + c[bucket(n)]

over the n occurrences of i in reach; 0 where none is. As the bias stands in a softmax, each
occurrence adds its own share to the item's odds: counts, and counts faded by age, are special
cases. c says by how much several occurrences are more, or less, than their sum. What is older than
ring and tail, or was never there, casts no vote.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.config import ModelConfig

OFTEN_BUCKETS = 8  # of occurrences: none, 1, 2-3, 4-7, ..., 64 and more


def reach(config: ModelConfig) -> int:
    """How many events back membership can be answered: K + T."""
    return config.ring_length + config.tail_length


def buckets(config: ModelConfig) -> int:
    """Number of age buckets, "older or never" (the last one) included."""
    return (reach(config) - 1).bit_length() + 2


def bits(number: Tensor, most: int) -> Tensor:
    """Bucket of each number: its bits, at most `most`; below 0 as 0."""
    edges = torch.tensor([1 << bit for bit in range(most)], device=number.device)
    return torch.bucketize(number, edges, right=True)


def often_bucket(number: Tensor) -> Tensor:
    """Bucket of each number of occurrences: its bits, at most OFTEN_BUCKETS - 1."""
    return bits(number.long(), OFTEN_BUCKETS - 1)


class Seen(NamedTuple):
    """Items in histories (B, L), ordered by user and position; n of them."""

    user: Tensor  # (n,)
    position: Tensor  # (n,) from which is looked back
    item: Tensor  # (n,) row
    age: Tensor  # (n,) events since the item was last seen
    same: Tensor  # (B, L, L) whether two usable events are of one item

    def only(self, kept: Tensor) -> Seen:
        """Some of them, by a mask (n,)."""
        return Seen(
            self.user[kept], self.position[kept], self.item[kept], self.age[kept], self.same
        )


class Found(NamedTuple):
    """What a history holds of candidates (...)."""

    age: Tensor  # bucket of the newest occurrence
    often: Tensor  # bucket of the number of occurrences in reach
    bias: Tensor  # on the next-item logit


class Membership(nn.Module):
    """Learned: a weight per age bucket, of the votes that make the bias on the next-item logit,
    and a bias per bucket of their number.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reach = reach(config)
        self.buckets = buckets(config)
        self.bias = nn.Parameter(torch.zeros(self.buckets - 1))
        self.often = nn.Parameter(torch.zeros(OFTEN_BUCKETS - 1))

    def bucket(self, age: Tensor) -> Tensor:
        """Bucket of each age; ages below 0 or beyond the reach are "older or never"."""
        outside = (age < 0) | (age >= self.reach)
        return bits(age, self.buckets - 2).masked_fill(outside, self.buckets - 1)

    def votes_of(self, age: Tensor) -> Tensor:
        """Vote of an occurrence of each age; 0 for one that is older than the reach, or to come."""
        return torch.cat([self.bias.exp(), self.bias.new_zeros(1)])[self.bucket(age)]

    def votes_and_number(self, age: Tensor) -> Tensor:
        """The same (2, ...), and 1 for each that votes: what is summed over occurrences."""
        inside = (age >= 0) & (age < self.reach)
        return torch.stack([self.votes_of(age), inside.to(self.bias.dtype)])

    def bias_of(self, summed: Tensor) -> Tensor:
        """Bias of each sum (2, ...) of votes and number; 0 where nobody votes."""
        votes, number = summed
        by_number = torch.cat([self.often.new_zeros(1), self.often])
        return votes.where(votes > 0, 1).log() + by_number[often_bucket(number)]

    def add_to(self, logits: Tensor, items: Tensor, mask: Tensor, *, exclude: bool) -> Tensor:
        """Add the biases to whole histories' logits (B, L, V);
        `exclude` rules out all seen items instead.
        """
        seen = self.seen(items, mask & (items < logits.shape[-1]))
        bias = self.bias_at(seen) if not exclude else logits.new_full(seen.age.shape, -1e9)
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
        return Seen(user, p, items[user, t], p - t, same & usable[:, None, :])

    def bias_at(self, seen: Seen) -> Tensor:
        """Bias (n,) of each seen item at its position."""
        position = torch.arange(seen.same.shape[1], device=seen.same.device)
        each = self.votes_and_number(position[:, None] - position)  # (2, p, t)
        # (2, B, p, t'): sums over events t like t'
        summed = each[:, None] @ seen.same.mT.to(each.dtype)
        return self.bias_of(summed[:, seen.user, seen.position, seen.position - seen.age])

    def find(self, items: Tensor, at: Tensor, candidates: Tensor) -> Found:
        """What histories (B, L) up to the positions `at` (B, Q) hold of candidates (B, Q, M)."""
        position = torch.arange(items.shape[1], device=items.device)
        age = at[:, :, None] - position  # (B, Q, L), below 0 for what is to come
        each = self.votes_and_number(age)  # (2, B, Q, L)
        hit = candidates[..., None] == items[:, None, None, :]  # (B, Q, M, L)
        hit = hit & (each[1] > 0)[:, :, None]
        summed = (hit.to(each.dtype) @ each.permute(1, 2, 3, 0)).movedim(-1, 0)  # (2, B, Q, M)
        newest = torch.where(hit, age[:, :, None], self.reach).amin(dim=-1)  # (B, Q, M)
        return Found(self.bucket(newest), often_bucket(summed[1]), self.bias_of(summed))
