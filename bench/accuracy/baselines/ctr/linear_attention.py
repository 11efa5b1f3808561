"""Linear attention (arXiv 2006.16236):
the kernel phi(q).phi(k) instead of exp(q.k), so that sums can be kept.

    out = phi(q) S / (phi(q) . z),   S = sum_t phi(k_t) v_t^T (D, D),   z = sum_t phi(k_t),
    phi = elu + 1

Left open: heads (one here). Training uses the equal quadratic form. Multiply-adds a candidate: D^2
+ D; phi(q) is stored with the item.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import elu

from bench.accuracy.baselines.ctr.interest import FLOAT_BYTES, Asked, Interest


class LinearAttention(Interest):
    """One head over the whole history."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        query = elu(self.query(asked.candidates)) + 1
        key = elu(self.key(asked.x)) + 1
        weights = query @ key.mT * asked.inside()  # (B, Q, L)
        return weights @ self.value(asked.x) / weights.sum(dim=-1, keepdim=True)

    def multiply_adds(self, length: int) -> int:  # noqa: ARG002 - sums do not grow
        """D^2 + D."""
        return self.width * self.width + self.width

    def state_bytes(self) -> int | None:
        """S and z."""
        return FLOAT_BYTES * (self.width * self.width + self.width)
