"""The user's own items, and after them the most frequent ones: the newest first, or by how often
and how lately.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.rules.rule import History, Rule


def last(counts: Longs) -> Rule:
    """The user's own last items, newest first."""
    after = _below_one(counts)

    def scored(history: History) -> Doubles:
        scores = after.copy()
        known = np.flatnonzero(history.items < len(counts))
        # a later event overwrites an earlier one of the same item
        scores[history.items[known]] = 1.0 + known
        return scores

    return scored


def frequent(counts: Longs) -> Rule:
    """By the sum of 1 / age over the user's events on the item, the newest event being of age 1."""
    after = _below_one(counts)

    def scored(history: History) -> Doubles:
        items = history.items
        known = items < len(counts)
        ages = len(items) - np.arange(len(items))
        own = np.bincount(items[known], weights=1.0 / ages[known], minlength=len(counts))
        return np.where(own > 0, 1.0 + own, after)

    return scored


def learn_last(training: Histories, items: int) -> Rule:
    """See `last`."""
    return last(training.counts(items))


def learn_frequent(training: Histories, items: int) -> Rule:
    """See `frequent`."""
    return frequent(training.counts(items))


def _below_one(counts: Longs) -> Doubles:
    return counts / (1.0 + counts.max(initial=0))
