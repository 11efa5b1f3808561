"""SDIM (arXiv 2205.10249): the sum of the events that collide with the
candidate in a hash, averaged over hashes.

    out = 1/G sum_g normalise(sum_{t : sig_g(v_t) = sig_g(q)} x_t), sig_g = tau signs of
    projections, G = m / tau

A sample of attention: the projections are random and fixed, and nearer events collide in more
hashes. The paper's m = 48 and tau = 3, so G = 16 groups of 8 buckets. Left open: what is hashed
(the items' embeddings, as in ETA). The attention over the newest events beside it is left out, as
for every method.

The G * 2^tau bucket sums are additive in events, so a server can keep them: that is the state.
Multiply-adds a candidate: its buckets are known with the item; G D to average them (normalised once
a request).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, Asked, Interest

GROUPS = 16
TAU = 3


class HashCollisions(Interest):
    """SDIM."""

    planes: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("planes", torch.randn(width, GROUPS * TAU))

    def signatures(self, vectors: Tensor) -> Tensor:
        """(..., D) to bucket numbers (..., G)."""
        bits = (vectors @ self.planes > 0).unflatten(-1, (GROUPS, TAU))
        return (bits * torch.tensor([1 << bit for bit in range(TAU)], device=vectors.device)).sum(
            dim=-1
        )

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        query = self.signatures(asked.candidates.detach())
        events = self.signatures(asked.vectors.detach())
        # (B, Q, G, L)
        collide = (query[..., None] == events.mT[:, None]) & asked.inside()[:, :, None]
        sums = collide.to(asked.x.dtype).flatten(1, 2) @ asked.x  # (B, Q*G, D)
        return normalize(sums, dim=-1).unflatten(1, (-1, GROUPS)).mean(dim=2)

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - buckets do not grow
        """G D."""
        return GROUPS * self.width

    def state_bytes(self) -> int | None:
        """The bucket sums."""
        return FLOAT_BYTES * GROUPS * 2**TAU * self.width
