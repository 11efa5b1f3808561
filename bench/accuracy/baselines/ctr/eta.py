"""ETA (arXiv 2108.04468): attention over the K events whose hashed
embeddings are nearest to the candidate's.

    signature(v) = sign(v H) in {-1, 1}^m,   taken = the K events of least Hamming distance,
    out = attention over them

H (D, m) is random and fixed. Left open: m (64 here), K (50), what is hashed (the items' embeddings,
since candidate and events must share a space), ties (any order). Nothing is learned through the
hash; the embeddings learn by the attention, which has an age bias here. The attention over the
newest events beside it is left out, as for every method.

Multiply-adds a candidate: 2 K D. The search is L Hamming distances of 64 bits, one XOR and one bit
count each, which are not counted here although they grow with L.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.accuracy.baselines.ctr.interest import Asked, Interest
from bench.accuracy.baselines.ctr.target_attention import Attention

BITS = 64
KEPT = 50


class HashedSearch(Interest):
    """ETA."""

    planes: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.attention = Attention(width, aged=True)
        self.register_buffer("planes", torch.randn(width, BITS))

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        return self.attention(asked, self.chosen(asked))

    @torch.no_grad()
    def chosen(self, asked: Asked) -> Tensor:
        """The nearest events of each candidate, (B, Q, L) bool."""
        inside = asked.inside()
        query, events = (
            torch.sign(part @ self.planes) for part in (asked.candidates, asked.vectors)
        )
        # (B, Q, L): BITS - 2 * distance
        near = (query @ events.mT).masked_fill(~inside, -torch.inf)
        picked = near.topk(min(KEPT, near.shape[-1]), dim=-1).indices
        return torch.zeros_like(inside).scatter(-1, picked, value=True) & inside

    def multiply_adds(self, length: int) -> int:
        """2 min(K, L) D."""
        return 2 * min(KEPT, length) * self.width

    def state_bytes(self) -> int | None:
        """None: the history itself, and its signatures."""
        return None
