"""LREA (arXiv 2503.02542): attention over a history compressed along
its length by learned matrices.

    C = W_comp^T X (r, D),   K = phi(W_decomp C W_K),   V = phi(W_decomp C W_V),
    out = (q K^T / sqrt(D)) V

X (L, D) is padded to full length, positions newest first: row 0 of W_comp and W_decomp, both (L,
r), is the newest event. phi is leaky ReLU. Where W_decomp is non-negative phi is taken before it, K
= W_decomp phi(C W_K), and then both decompressions meet in one small matrix that is absorbed: out =
(q K'^T / sqrt(D)) (W_decomp^T W_decomp) V' with K' = phi(C W_K), V' = phi(C W_V) (r, D). The loss
adds the mean of relu(-W_decomp) to make it so.

Left open: r (16 here), whether training takes the absorbed form (it does here, so that what is
served is what was trained), the weight of the non-negativity term (set in
`bench.accuracy.ctr.train`), whether a softmax stands between the two products (none here: nothing
could be absorbed through it), how W_comp starts (positive and random).

C belongs to the user and can be stored, but each new event moves every position, so it is computed
again from the whole history. Multiply-adds a candidate: (W_decomp^T W_decomp) V' is formed once a
request, so 2 r D.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from bench.accuracy.baselines.ctr.interest import Asked, Interest

RANK = 16
SLOPE = 0.01


class PositionalLowRank(Interest):
    """LREA for histories of at most `length` events."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.width = width
        self.compress = nn.Parameter(torch.randn(length, RANK).abs() * length**-0.5)
        self.decompress = nn.Parameter(torch.randn(length, RANK).abs() * length**-0.5)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        ages = asked.ages().clamp(0, len(self.compress) - 1)
        weights = self.compress[ages] * asked.inside()[..., None]  # (B, Q, L, r)
        compressed = (weights.mT.flatten(1, 2) @ asked.x).unflatten(1, (-1, RANK))  # (B, Q, r, D)
        key = leaky_relu(self.key(compressed), SLOPE)
        value = leaky_relu(self.value(compressed), SLOPE)
        absorbed = self.decompress.mT @ self.decompress  # (r, r)
        query = self.query(asked.candidates)[:, :, None]  # (B, Q, 1, D)
        scores = query @ key.mT * self.width**-0.5 @ absorbed  # (B, Q, 1, r)
        return (scores @ value).squeeze(2)

    def penalty(self) -> Tensor:
        """Mean of relu(-W_decomp): 0 once phi commutes with it."""
        return torch.relu(-self.decompress).mean()

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - compressed before
        """2 r D."""
        return 2 * RANK * self.width

    def state_bytes(self) -> int | None:
        """None: each event moves every position, so the history is compressed anew."""
        return None
