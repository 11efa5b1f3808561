"""AdamW for a table of which a step touches only a few rows, and the average of its weights.

Every row has an AdamW of its own (Loshchilov and Hutter, arXiv 1711.05101), whose steps are those
in which the row has a gradient:

    n <- n + 1,  m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
    w <- w - rate (m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps) + weight_decay w)

So a step costs what it touches, however long the table is, and a row that is touched in each step
goes where torch's AdamW takes it. Where moments pass with every step, a rare row has forgotten its
last gradients when the next one comes; here it has not. The average, a <- d a + (1 - d) w at every
step, is exact and as lazy: a row's weights stand still between its steps, so k of them are one,
with the product of the k d's.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8
DECAY_MIN = 1e-300  # whose logarithm is a number


class RowAdam:
    """Trains the rows of `table`, whose gradients are sparse, and averages them into `averaged`."""

    def __init__(
        self,
        table: nn.Embedding,
        averaged: nn.Embedding,
        *,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        self.weight = table.weight  # (V, D)
        self.average = averaged.weight  # (V, D), behind by the steps since each row's last
        self.betas = betas
        self.weight_decay = weight_decay
        self.rows, self.gradient = self._nothing()
        self.mean = torch.zeros_like(self.weight, requires_grad=False)
        self.square = torch.zeros_like(self.weight, requires_grad=False)
        self.steps = torch.zeros(len(self.weight), dtype=torch.int64, device=self.weight.device)
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
            "mean": self.mean,
            "square": self.square,
            "steps": self.steps,
            "faded": self.faded,
            "faded_at": self.faded_at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be what `state` was made of."""
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.steps.copy_(state["steps"])
        self.faded = state["faded"]
        self.faded_at.copy_(state["faded_at"])

    def _nothing(self) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(0, dtype=torch.int64, device=self.weight.device)
        return rows, self.weight.new_zeros(0, self.weight.shape[1])

    def _descend(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        first, second = self.betas
        self.steps[rows] += 1
        steps = self.steps[rows, None].double()
        mean = self.mean[rows].lerp_(gradient, 1 - first)
        square = self.square[rows].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        self.mean[rows] = mean
        self.square[rows] = square
        mean = mean / (1 - first**steps).to(mean)
        spread = (square / (1 - second**steps).to(square)).sqrt_().add_(EPSILON)
        weight = self.weight[rows].mul_(1 - rate * self.weight_decay)
        self.weight[rows] = weight.addcdiv_(mean, spread, value=-rate)

    def _average(self, rows: Tensor) -> None:
        kept = torch.exp(self.faded - self.faded_at[rows])[:, None].to(self.average)
        self.average[rows] = torch.lerp(self.weight[rows], self.average[rows], kept)
        self.faded_at[rows] = self.faded
