"""Full target attention by dot products: the candidate attends over every event of its history.

    out = concat_h softmax(q_h K_h^T / sqrt(d) [+ bias_h(age)]) V_h, q = e W_Q, K = x W_K, V = x
    W_V, d = D / heads

The multi-head form that LREA (arXiv 2503.02542) takes as its exact reference. SIM and ETA use it
over the events that they pick. Left open: heads (2 here), positions. The plain form has none;
`aged` adds a learned bias per head and age bucket (the bits of the age in events), a stronger
reference, since recency is most of what the plain form lacks.

Multiply-adds a candidate: q, K and V are stored, so 2 L D: scores and mixture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.interest import RING_EVENT_BYTES, Asked, Interest

AGE_BUCKETS = 16


class Attention(nn.Module):
    """Multi-head attention of candidates over chosen events."""

    def __init__(self, width: int, heads: int = 2, *, aged: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.age_bias = nn.Parameter(torch.zeros(heads, AGE_BUCKETS)) if aged else None

    def forward(self, asked: Asked, taken: Tensor) -> Tensor:
        """Over the events `taken` (B, Q, L); (B, Q, D), zero where none is taken."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, h, Q or L, d)
            for part in (self.query(asked.candidates), self.key(asked.x), self.value(asked.x))
        )
        scores = query @ key.mT * query.shape[-1] ** -0.5  # (B, h, Q, L)
        if self.age_bias is not None:
            scores = scores + self.age_bias[:, age_bucket(asked.ages())].transpose(0, 1)
        weights = scores.masked_fill(~taken[:, None], -1e9).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).flatten(-2)  # (B, Q, D)
        return mixed * taken.any(dim=-1, keepdim=True)


def age_bucket(ages: Tensor) -> Tensor:
    """Number of bits of each age, at most AGE_BUCKETS - 1; 0 below 1."""
    edges = torch.tensor([1 << bit for bit in range(AGE_BUCKETS - 1)], device=ages.device)
    return torch.bucketize(ages, edges, right=True)


class TargetAttention(Interest):
    """Attention over the whole history."""

    def __init__(self, width: int, *, aged: bool = False) -> None:
        super().__init__()
        self.width = width
        self.attention = Attention(width, aged=aged)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        return self.attention(asked, asked.inside())

    def multiply_adds(self, length: int) -> int:
        """2 L D."""
        return 2 * length * self.width

    def state_bytes(self) -> int | None:
        """None: the history itself."""
        return None


class RecentAttention(Interest):
    """Attention over the newest K events only: 2 K D multiply-adds, a ring of K events."""

    def __init__(self, width: int, newest: int) -> None:
        super().__init__()
        self.width = width
        self.newest = newest
        self.attention = Attention(width, aged=True)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        return self.attention(asked, asked.inside() & (asked.ages() < self.newest))

    def multiply_adds(self, length: int) -> int:
        """2 K D, once the history has K events."""
        return 2 * min(length, self.newest) * self.width

    def state_bytes(self) -> int | None:
        """The ring's."""
        return RING_EVENT_BYTES * self.newest
