"""History membership: whether a candidate is in the history, how many events ago, and how often.

A compressed state cannot tell, yet it is the strongest single signal: where nothing repeats the
model learns to suppress what was seen, in groceries to promote it. Ages are counted in events since
an occurrence (0 = the newest event) and bucketed by their number of bits. Each occurrence of an
item casts a vote that its age weighs:

    bias(i) = log sum_j exp(w[bucket(age_j)]), j over the occurrences of i in reach; 0 where none is

With one occurrence that is w of its age. As the bias stands in a softmax, each occurrence adds its
own share to the item's odds: counts, and counts faded by age, are special cases. What is older than
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
    """A learned weight per age bucket, of the votes that make the bias on the next-item logit."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reach = reach(config)
        self.buckets = buckets(config)
        self.bias = nn.Parameter(torch.zeros(self.buckets - 1))

    def bucket(self, age: Tensor) -> Tensor:
        """Bucket of each age; ages below 0 or beyond the reach are "older or never"."""
        outside = (age < 0) | (age >= self.reach)
        return bits(age, self.buckets - 2).masked_fill(outside, self.buckets - 1)

    def votes_of(self, age: Tensor) -> Tensor:
        """Vote of an occurrence of each age; 0 for one that is older than the reach, or to come."""
        return torch.cat([self.bias.exp(), self.bias.new_zeros(1)])[self.bucket(age)]

    def bias_of(self, votes: Tensor) -> Tensor:
        """Bias of each sum of votes: its log, 0 where nobody votes."""
        return votes.where(votes > 0, 1).log()

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
        vote = self.votes_of(position[:, None] - position)  # (p, t)
        votes = vote @ seen.same.mT.to(vote.dtype)  # (B, p, t'): sums over events t like t'
        return self.bias_of(votes[seen.user, seen.position, seen.position - seen.age])

    def find(self, items: Tensor, at: Tensor, candidates: Tensor) -> Found:
        """What histories (B, L) up to the positions `at` (B, Q) hold of candidates (B, Q, M)."""
        position = torch.arange(items.shape[1], device=items.device)
        age = at[:, :, None] - position  # (B, Q, L), below 0 for what is to come
        hit = candidates[..., None] == items[:, None, None, :]  # (B, Q, M, L)
        vote = self.votes_of(age)  # (B, Q, L)
        inside = (age >= 0) & (age < self.reach)
        hit = hit & inside[:, :, None]
        weight = torch.stack([vote, inside.to(vote.dtype)], dim=-1)  # (B, Q, L, 2)
        votes, count = (hit.to(vote.dtype) @ weight).unbind(dim=-1)  # (B, Q, M) each
        newest = torch.where(hit, age[:, :, None], self.reach).amin(dim=-1)  # (B, Q, M)
        return Found(
            self.bucket(newest), bits(count.long(), OFTEN_BUCKETS - 1), self.bias_of(votes)
        )
