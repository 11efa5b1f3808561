"""Metrics against cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measure import metrics


def test_ranks_count_ties_against_the_target() -> None:
    """The target's rank is the number of items that score at least as much, itself included."""
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 5.0, 9.0]])
    assert metrics.ranks(scores, np.array([0, 1, 1])).tolist() == [1, 3, 2]


def test_ranks_refuse_scores_that_are_not_numbers() -> None:
    """A diverged model is reported, not ranked."""
    with pytest.raises(ValueError, match="NaN"):
        metrics.ranks(np.array([[float("nan"), 1.0]]), np.array([1]))


def test_ranking_metrics_by_hand() -> None:
    """Ranks 1, 2, 3 and 11 give the textbook values at 10."""
    rank = np.array([1, 2, 3, 11])
    assert metrics.hit_ratio(rank, 10).tolist() == [1, 1, 1, 0]
    assert metrics.ndcg(rank, 10).tolist() == pytest.approx([1.0, 1 / math.log2(3), 0.5, 0.0])
    assert metrics.reciprocal_rank(rank, 10).tolist() == pytest.approx([1.0, 0.5, 1 / 3, 0.0])


def test_auc_by_hand() -> None:
    """Of six pairs four are ordered rightly and one ties, so AUC is 4.5 / 6."""
    labels = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.4, 0.4, 0.1, 0.5])
    assert metrics.auc(labels, scores) == pytest.approx(4.5 / 6)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_equals_its_definition(rows: list[tuple[bool, int]]) -> None:
    """The rank-sum form equals counting all pairs of a positive and a negative."""
    labels = np.array([label for label, _ in rows])
    scores = np.array([score for _, score in rows], dtype=np.float64)
    if labels.all() or not labels.any():
        with pytest.raises(ValueError, match="both classes"):
            metrics.auc(labels, scores)
        return
    difference = scores[labels][:, None] - scores[~labels][None, :]
    assert metrics.auc(labels, scores) == pytest.approx(
        ((difference > 0) + 0.5 * (difference == 0)).mean()
    )


def test_gauc_weighs_users_by_impressions_and_leaves_out_single_class_users() -> None:
    """Users 7 (AUC 1, 2 rows) and 3 (AUC 0.5, 4 rows) count; user 5 has no negatives."""
    users = np.array([7, 3, 3, 5, 7, 3, 3, 5])
    labels = np.array([True, True, False, True, False, True, False, True])
    scores = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.1, 0.3, 0.5])
    assert metrics.gauc(users, labels, scores) == pytest.approx((2 * 1.0 + 4 * 0.5) / 6)
    with pytest.raises(ValueError, match="at least one user"):
        metrics.gauc(np.array([1, 2]), np.array([True, False]), np.array([0.1, 0.2]))


def test_log_loss_by_hand_and_for_huge_logits() -> None:
    """The value is ln 2 at logit 0, and no overflow at a thousand."""
    assert metrics.log_loss(np.array([True, False]), np.zeros(2)) == pytest.approx(math.log(2))
    assert metrics.log_loss(np.array([True, False]), np.array([-1000.0, -1000.0])) == pytest.approx(
        500.0
    )


def test_calibration_error_by_hand() -> None:
    """Two bins, off by 0.1 (3 rows) and 0.2 (1 row): weighted 0.125."""
    probabilities = np.array([0.1, 0.1, 0.1, 0.8])
    labels = np.array([False, False, False, True])
    assert metrics.calibration_error(labels, probabilities, bins=2) == pytest.approx(
        (3 * 0.1 + 0.2) / 4
    )
    assert metrics.calibration_error(np.array([True]), np.array([1.0])) == 0.0


def test_bootstrap_interval_covers_the_mean_and_repeats() -> None:
    """The interval of a mean has about the width of 2 * 1.96 standard
    errors, and a seed fixes it.
    """
    values = np.random.default_rng(1).normal(size=400)
    low, high = metrics.bootstrap(lambda at: float(values[at].mean()), 400, seed=3)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert (low, high) == metrics.bootstrap(lambda at: float(values[at].mean()), 400, seed=3)
