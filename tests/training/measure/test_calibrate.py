"""Platt scaling."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import TrainingError
from training.measure import calibrate, metrics


def test_known_distortion_is_undone() -> None:
    """Labels drawn from sigmoid(2 x - 1) give back slope 2 and shift
    -1, and small calibration error.
    """
    random = np.random.default_rng(0)
    logits = random.normal(size=50_000)
    labels = random.random(50_000) < 1 / (1 + np.exp(1 - 2 * logits))
    slope, shift = calibrate.fit(labels, logits)
    assert (slope, shift) == pytest.approx((2.0, -1.0), abs=0.08)
    assert metrics.calibration_error(labels, 1 / (1 + np.exp(-slope * logits - shift))) < 0.01


def test_the_slope_stays_positive_for_misleading_scores() -> None:
    """Scores that rank backwards are flattened, never turned round."""
    logits = np.linspace(-2, 2, 200)
    slope, _ = calibrate.fit(logits < 0, logits)
    assert 0 < slope < 0.1


def test_separable_scores_stay_finite() -> None:
    """Perfect scores give a steep slope, not an infinite one."""
    logits = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, shift = calibrate.fit(logits > 0, logits)
    assert 0.5 < slope < 20
    assert abs(shift) < 0.1


def test_one_class_cannot_be_calibrated() -> None:
    """Clicks only, or none, or no rows at all: the message counts them."""
    with pytest.raises(TrainingError, match="got 3 clicks in 3 rows"):
        calibrate.fit(np.array([True] * 3), np.zeros(3))
    with pytest.raises(TrainingError, match="got 0 clicks in 0 rows"):
        calibrate.fit(np.zeros(0, dtype=bool), np.zeros(0))
