"""What AdamW does to a table of which a step touches only a few rows, and the rows' average.

AdamW (Loshchilov and Hutter, arXiv 1711.05101) moves every row in every step: a gradient goes on
for a while as momentum. Here a row moves when it has a gradient, k steps after the last time, and
at once by all that AdamW would make of that gradient in the steps to come, if nothing else came:

    v <- b2^k v + (1 - b2) g^2
    w <- (1 - rate weight_decay)^k w - rate s g / (sqrt(v / (1 - b2^t)) + eps)
    s = sum_j (1 - b1) b1^j b2^(-j / 2) = (1 - b1) / (1 - b1 / sqrt(b2))

So a step costs what it touches, however long the table is; rare rows go where AdamW takes them, and
rows of every step as far, without momentum's inertia. (With moments that stand still while a row is
not touched, as torch's SparseAdam has them, a rare row goes an eighth as far.) The average,
a <- d a + (1 - d) w at every step, is exact and as lazy: a row stands still between its steps, so k
of them are one, with the product of the k d's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8
DECAY_MIN = 1e-300  # whose logarithm is a number


class RowAdam:
    """Trains the rows of `table`, whose gradients are sparse, and averages them into `averaged`.

    Raises:
        ValueError: momentum would outlive the squares' memory, so that s is infinite.
    """

    def __init__(
        self,
        table: nn.Embedding,
        averaged: nn.Embedding,
        *,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        if not betas[0] < math.sqrt(betas[1]):
            raise ValueError(
                f"betas = {betas}: where the softmax is sampled, the first must be below the "
                "square root of the second; try (0.9, 0.98)"
            )
        self.weight = table.weight  # (V, D)
        self.average = averaged.weight  # (V, D), behind by the steps since each row's last
        self.betas = betas
        self.weight_decay = weight_decay
        self.rows, self.gradient = self._nothing()
        self.square = torch.zeros_like(self.weight, requires_grad=False)  # v, as of:
        self.moved_at = torch.zeros(len(self.weight), dtype=torch.int64, device=self.weight.device)
        self.steps = 0  # t
        # log of the product of all decays so far, now and when each row was averaged last
        self.faded = 0.0
        self.faded_at = torch.zeros(
            len(self.weight), dtype=torch.float64, device=self.weight.device
        )

    def gather(self) -> Tensor:
        """Sum what the step's look-ups gave to each row, and forget it; the sums (n, D)."""
        self.rows, self.gradient = self._nothing()
        if self.weight.grad is not None:
            gradient = self.weight.grad.coalesce()
            self.rows = gradient.indices()[0]
            self.gradient = gradient.values()
            self.weight.grad = None
        return self.gradient

    @torch.no_grad()
    def step(self, rate: float, decay: float) -> None:
        """One step of the rows that `gather` found, then one of the average."""
        self.steps += 1
        self._average(self.rows)
        self._descend(self.rows, self.gradient, rate)
        self.faded += math.log(max(decay, DECAY_MIN))
        self._average(self.rows)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring the whole average up to now."""
        late = torch.nonzero(self.faded_at != self.faded)[:, 0]
        for rows in late.split(1 << 16):
            self._average(rows)

    def state(self) -> dict[str, Any]:
        """All but weights and average."""
        return {
            "square": self.square,
            "moved_at": self.moved_at,
            "steps": self.steps,
            "faded": self.faded,
            "faded_at": self.faded_at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` was made of."""
        self.square.copy_(state["square"])
        self.moved_at.copy_(state["moved_at"])
        self.steps = state["steps"]
        self.faded = state["faded"]
        self.faded_at.copy_(state["faded_at"])

    def _nothing(self) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(0, dtype=torch.int64, device=self.weight.device)
        return rows, self.weight.new_zeros(0, self.weight.shape[1])

    def _descend(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        first, second = self.betas
        passed = (self.steps - self.moved_at[rows])[:, None].to(gradient)
        self.moved_at[rows] = self.steps
        square = self.square[rows] * second**passed
        square = square.addcmul_(gradient, gradient, value=1 - second)
        self.square[rows] = square
        spread = (square / (1 - second**self.steps)).sqrt_().add_(EPSILON)
        whole = (1 - first) / (1 - first / math.sqrt(second))
        weight = self.weight[rows] * (1 - rate * self.weight_decay) ** passed
        self.weight[rows] = weight.addcdiv_(gradient, spread, value=-rate * whole)

    def _average(self, rows: Tensor) -> None:
        kept = torch.exp(self.faded - self.faded_at[rows])[:, None].to(self.average)
        self.average[rows] = torch.lerp(self.weight[rows], self.average[rows], kept)
        self.faded_at[rows] = self.faded
