"""Platt scaling: two numbers that turn a logit into a probability, p = sigmoid(a * logit + b).

J. Platt. 1999. Probabilistic outputs for support vector machines. The probability refers to
candidates like those it was fitted on: fitted on one clicked item among 99 others, 1 % is the
average, whatever the logit's own scale was.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Bools, Doubles
from training.errors import TrainingError
from training.measure.metrics import sigmoid

SLOPE_MIN = 0.01  # calibration must never reorder items
STEPS_MAX = 50


def fit(labels: Bools, logits: Doubles) -> tuple[float, float]:
    """Slope a > 0 and shift b of least log-loss,
    with Platt's smoothed targets so that both stay finite.

    Raises:
        TrainingError: one of the two classes is missing.
    """
    clicks = int(labels.sum())
    others = int((~labels).sum())
    if not clicks or not others:
        raise TrainingError(
            f"calibration needs clicks and non-clicks, got {clicks} clicks in {len(labels)} rows; "
            "hold out more events"
        )
    targets = np.where(labels, (clicks + 1) / (clicks + 2), 1 / (others + 2))
    ones = np.ones_like(logits)
    slope, shift = _newton(np.stack([logits, ones], axis=1), np.zeros_like(logits), targets)
    if slope < SLOPE_MIN:
        slope = SLOPE_MIN
        (shift,) = _newton(ones[:, None], slope * logits, targets)
    return float(slope), float(shift)


def _newton(design: Doubles, offset: Doubles, targets: Doubles) -> Doubles:
    """Weights (k,) of the logistic regression of `targets` (n,) on `design` (n,
    k), with a fixed `offset` (n,).
    """

    def loss_of(weights: Doubles) -> float:
        z = design @ weights + offset
        return float(np.mean(np.logaddexp(0.0, z) - targets * z))

    weights = np.zeros(design.shape[1])
    loss = loss_of(weights)
    for _ in range(STEPS_MAX):
        p = sigmoid(design @ weights + offset)
        gradient = design.T @ (p - targets)
        curvature = (design.T * (p * (1.0 - p))) @ design
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        while (next_loss := loss_of(weights - step)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        if not next_loss < loss - 1e-12:
            break
        weights = weights - step
        loss = next_loss
    return weights
