"""The most frequent items first, for everybody."""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.rules.rule import Rule


def popular(counts: Longs | Doubles) -> Rule:
    """By the events (V,) of each item."""
    scores = counts.astype(np.float64)
    return lambda _: scores


def learn(training: Histories, items: int) -> Rule:
    """By all events."""
    return popular(training.counts(items))
