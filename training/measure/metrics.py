"""Ranking and click metrics, each from its definition, and bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.arrays import Bools, Doubles, Longs, Reals
from training.errors import DivergedError


def ranks(scores: Reals, targets: Longs) -> Longs:
    """Rank (m,), from 1, of column targets[i] in row i of scores (m, V);
    every tie counts against the target.

    Raises:
        DivergedError: a score is not a number.
    """
    own = np.take_along_axis(scores, targets[:, None], axis=1)  # (m, 1)
    if np.isnan(scores).any():
        raise DivergedError(
            "scores hold NaN: the model has diverged; train again with a lower learning rate"
        )
    return np.asarray((scores >= own).sum(axis=1, dtype=np.int64))


def hit_ratio(rank: Longs, k: int) -> Doubles:
    """HR@k of each rank: 1 where the target is among the first k.
    With one target it equals recall@k.
    """
    return (rank <= k).astype(np.float64)


def ndcg(rank: Longs, k: int) -> Doubles:
    """NDCG@k of each rank with one relevant item: 1 / log2(rank + 1) within the first k, else 0."""
    return np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)


def reciprocal_rank(rank: Longs, k: int) -> Doubles:
    """MRR@k's term of each rank: 1 / rank within the first k, else 0."""
    return np.where(rank <= k, 1.0 / rank, 0.0)


def auc(labels: Bools, scores: Doubles) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann-Whitney).

    Raises:
        ValueError: one of the two classes is missing.
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise ValueError(
            f"AUC needs both classes, got {positives} positives and {negatives} negatives"
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0  # mean rank of each distinct score, from 1
    rank_sum = float(middle[inverse][labels].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def gauc(users: Longs, labels: Bools, scores: Doubles) -> float:
    """Mean AUC within each user, weighted by impressions; users with one class only are left out.

    Raises:
        ValueError: no user has both classes.
    """
    order = np.argsort(users, kind="stable")
    starts = np.flatnonzero(np.diff(users[order], prepend=users[order[0]] - 1))
    total = 0.0
    weight = 0
    for group in np.split(order, starts[1:]):
        if 0 < labels[group].sum() < len(group):
            total += len(group) * auc(labels[group], scores[group])
            weight += len(group)
    if not weight:
        raise ValueError("GAUC needs at least one user with clicks and non-clicks")
    return total / weight


def sigmoid(logits: Doubles) -> Doubles:
    """1 / (1 + exp(-logit)), without overflow for any logit."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def log_loss(labels: Bools, logits: Doubles) -> float:
    """Mean of -log p(label) for p = sigmoid(logit), in nats."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels, -logits, logits))))


def calibration_error(labels: Bools, probabilities: Doubles, bins: int = 15) -> float:
    """Expected calibration error: |observed - predicted|,
    averaged over equally wide bins by size.
    """
    bucket = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    observed = np.bincount(bucket, weights=labels.astype(np.float64), minlength=bins)
    predicted = np.bincount(bucket, weights=probabilities, minlength=bins)
    return float(np.abs(observed - predicted).sum() / len(labels))


def bootstrap(
    statistic: Callable[[Longs], float],
    count: int,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of `statistic`,
    a function of positions (count,) drawn with replacement.
    """
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, count, count)) for _ in range(samples)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
