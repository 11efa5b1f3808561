"""Platt scaling: two numbers that turn a logit into a probability, p = sigmoid(a * logit + b).

J. Platt. 1999. Probabilistic outputs for support vector machines. The probability refers to candidates like those it
was fitted on: fitted on one clicked item among 99 others, 1 % is the average, whatever the logit's own scale was.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from training.metrics import Doubles
from training.targets import Bools


def fit(labels: Bools, logits: Doubles, steps: int = 100) -> tuple[float, float]:
    """Slope a > 0 and shift b of least log-loss. The slope stays positive, so calibration never reorders items.

    Raises:
        ValueError: one of the two classes is missing.

    """
    share = float(labels.mean()) if len(labels) else 0.0
    if not 0 < share < 1:
        raise ValueError(f"calibration needs clicks and non-clicks, got {labels.sum()} clicks in {len(labels)} rows")
    x, y = torch.from_numpy(logits), torch.from_numpy(labels.astype(np.float64))
    log_slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_slope, shift], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(log_slope.exp() * x + shift, y)
        torch.autograd.backward(loss)
        return loss.item()

    optimizer.step(closure)
    return math.exp(log_slope.item()), shift.item()
