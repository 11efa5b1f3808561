"""95 % bootstrap intervals of means over questions,
users drawn with replacement: one user's clicks are alike.

B. Efron, R. Tibshirani. 1993. An Introduction to the Bootstrap. Ch. 13 (percentile), and ch. 8 for
drawing clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from model.arrays import Doubles, Longs

SAMPLES = 1000


class Estimate(NamedTuple):
    """A mean and its interval."""

    value: float
    low: float
    high: float


def estimates(values: Mapping[str, Doubles], users: Longs, *, seed: int = 0) -> dict[str, Estimate]:
    """Each name's mean over the questions (m,),
    `users` (m,) being whose they are; one draw serves all names.

    Differences of two models' values per question give a paired comparison.
    """
    _, whose, counts = np.unique(users, return_inverse=True, return_counts=True)
    # (names, users)
    sums = np.stack([np.bincount(whose, weights=column) for column in values.values()])
    random = np.random.default_rng(seed)
    drawn = np.empty((SAMPLES, len(sums)))
    for sample in drawn:
        at = random.integers(0, len(counts), len(counts))
        sample[:] = sums[:, at].sum(axis=1) / counts[at].sum()
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    means = sums.sum(axis=1) / counts.sum()
    return {
        name: Estimate(float(means[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(values)
    }


def wilson(successes: Doubles, counts: Doubles) -> tuple[Doubles, Doubles]:
    """95 % interval of a share, for small counts too (E. B. Wilson, 1927)."""
    z = 1.96
    share = successes / counts
    middle = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z / (1 + z**2 / counts) * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return np.maximum(middle - half, 0.0), middle + half
