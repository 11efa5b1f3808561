"""From the state and one candidate to a click logit.

    hidden = W_item e + W_user s + W_pair [s*e, r, r*e, l, l*e] + member[age] + often[times] +
    recency[gap] + count[events] + w n
    logit  = alpha n + beta + w_out . relu(hidden)

e is the candidate's embedding, s the sequence state, r exact target attention over the ring, l
attention over the low-rank cache, n the next-item logit. W_item e depends on the item alone and is
stored with the item table when a model is published, as are the attentions' queries of items
(LREA's matrix absorption and pre-storage).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.membership import OFTEN_BUCKETS, bits, buckets

COUNT_BUCKETS = 16


def count_bucket(events: Tensor) -> Tensor:
    """Bucket of a number of events: its bits, at most COUNT_BUCKETS - 1."""
    return bits(events, COUNT_BUCKETS - 1)


class RingAttention(nn.Module):
    """Exact target attention over the J newest events with the candidate as the query.

    An event is its input x_t: what was done, and after how long, counts as much as with which item.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.age_bias = nn.Parameter(torch.zeros(config.attended))

    def forward(self, vectors: Tensor, ring: Tensor, filled: Tensor) -> Tensor:
        """Candidates (..., M, D) over inputs (..., J, D) newest first,
        filled (..., J), to (..., M, D).
        """
        # (..., M, J)
        scores = self.query(vectors) @ self.key(ring).mT * vectors.shape[-1] ** -0.5 + self.age_bias
        weights = scores.masked_fill(~filled[..., None, :], float("-inf")).softmax(dim=-1)
        mixed: Tensor = weights @ self.value(ring)
        return mixed


class Evidence(nn.Module):
    """The small network on top."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D = config.width
        Z = config.head_width
        self.item = nn.Linear(D, Z)
        self.user = nn.Linear(D, Z, bias=False)
        self.pair = nn.Linear(5 * D, Z, bias=False)
        self.member = nn.Embedding(buckets(config), Z)
        self.often = nn.Embedding(OFTEN_BUCKETS, Z)
        self.recency = nn.Embedding(config.gap_buckets, Z)
        self.count = nn.Embedding(COUNT_BUCKETS, Z)
        self.next_item = nn.Parameter(torch.zeros(Z))
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.zeros(()))
        self.out = nn.Parameter(torch.zeros(Z))
        for table in (self.member, self.often, self.recency, self.count):
            nn.init.normal_(table.weight, std=0.02)

    @torch.no_grad()
    def temper(self, strength: float) -> None:
        """Take only so much of what is added to the next-item logit."""
        self.alpha.copy_(1 + strength * (self.alpha - 1))
        self.beta.mul_(strength)
        self.out.mul_(strength)

    def forward(
        self,
        vectors: Tensor,  # (..., M, D)
        user: Tensor,  # (..., D)
        ring: Tensor,  # (..., M, D)
        lowrank: Tensor,  # (..., M, D)
        next_item: Tensor,  # (..., M)
        member: Tensor,  # (..., M) bucket of the newest occurrence's age
        often: Tensor,  # (..., M) bucket of the number of occurrences
        recency: Tensor,  # (...) bucket
        count: Tensor,  # (...) bucket
    ) -> Tensor:
        """Click logits (..., M)."""
        pairs = torch.cat(
            [user[..., None, :] * vectors, ring, ring * vectors, lowrank, lowrank * vectors], dim=-1
        )
        of_user = self.user(user) + self.recency(recency) + self.count(count)  # (..., Z)
        hidden = self.item(vectors) + self.pair(pairs) + of_user[..., None, :]
        hidden = hidden + self.member(member) + self.often(often)
        hidden = torch.relu(hidden + next_item[..., None] * self.next_item)  # (..., M, Z)
        return self.alpha * next_item + self.beta + hidden @ self.out
