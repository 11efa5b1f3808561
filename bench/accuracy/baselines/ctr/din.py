"""Deep Interest Network (arXiv 1706.06978): a small network judges each event beside the candidate.

    weight_t = w_2 . prelu(W_1 [q; x_t; q - x_t; q * x_t] + b_1) + b_2, out = sum_t weight_t x_t /
    SCALE

Weights are not normalised, as in the paper, so that the strength of an interest survives. Left open
for histories this long: the size of the sum, here divided by a constant; the hidden width, 16 here
(36 in the paper, for shorter histories); the activation, PReLU (the paper's Dice is a
batch-normalised form of it).

W_1's parts for q, x and q - x are linear, so they fold into one product of q (stored with the item)
and one of x (stored with the event). Multiply-adds a candidate: D H for W_1's last part times
diag(q), then L (D H + H + D).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.accuracy.baselines.ctr.interest import Asked, Interest

HIDDEN = 16
SCALE = 100.0


class DeepInterest(Interest):
    """DIN's activation unit over the whole history."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.of_query = nn.Linear(width, HIDDEN)
        self.of_event = nn.Linear(width, HIDDEN, bias=False)
        self.of_product = nn.Linear(width, HIDDEN, bias=False)
        self.slope = nn.Parameter(torch.full((HIDDEN,), 0.25))
        self.out = nn.Linear(HIDDEN, 1)

    def forward(self, asked: Asked) -> Tensor:
        """(B, Q, D)."""
        scaled = asked.candidates[:, :, None, :] * self.of_product.weight  # (B, Q, H, D)
        pair = (scaled.flatten(1, 2) @ asked.x.mT).unflatten(1, (-1, HIDDEN))  # (B, Q, H, L)
        hidden = (
            pair + self.of_query(asked.candidates)[..., None] + self.of_event(asked.x).mT[:, None]
        )
        active = torch.relu(hidden) + self.slope[:, None] * hidden.clamp(max=0)
        weights = self.out.weight @ active + self.out.bias  # (B, Q, 1, L)
        weights = weights.squeeze(2) * asked.inside()
        return weights @ asked.x / SCALE

    def multiply_adds(self, length: int) -> int:
        """D H + L (D H + H + D)."""
        return self.width * HIDDEN + length * (self.width * HIDDEN + HIDDEN + self.width)

    def state_bytes(self) -> int | None:
        """None: the history itself."""
        return None
