"""Simple rules that a model must beat before anybody pilots it,
ranked as the API lists: no training, no state.

Letters: m clicks, V catalogue items, n events of a user so far.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.measure.ranking import UNLISTED, Ranking

# item rows (n,) of a user's events, oldest first -> scores (V,), changed by nobody
Rule = Callable[[Longs], Doubles]


def popular(counts: Longs) -> Rule:
    """The most frequent items first, for everybody."""
    scores = counts.astype(np.float64)
    return lambda _: scores


def last(counts: Longs) -> Rule:
    """The user's own last items, newest first, and after them the most frequent ones."""
    after = _below_one(counts)

    def scored(history: Longs) -> Doubles:
        scores = after.copy()
        known = np.flatnonzero(history < len(counts))
        # a later event overwrites an earlier one of the same item
        scores[history[known]] = 1.0 + known
        return scores

    return scored


def frequent(counts: Longs) -> Rule:
    """The user's own items by how often and how lately:
    the sum of 1 / age over their events, the newest of age 1.
    """
    after = _below_one(counts)

    def scored(history: Longs) -> Doubles:
        known = history < len(counts)
        ages = len(history) - np.arange(len(history))
        own = np.bincount(history[known], weights=1.0 / ages[known], minlength=len(counts))
        return np.where(own > 0, 1.0 + own, after)

    return scored


def rank_by(rule: Rule, histories: Histories, targets: Longs) -> Ranking:
    """Rank the catalogue events at flat positions `targets` (m,);
    of equal scores the more frequent item is first.

    Raises:
        TrainingError: there is nothing to rank.
    """
    starts = histories.starts[np.searchsorted(histories.starts, targets, side="right") - 1]
    places = zip(starts.tolist(), targets.tolist(), strict=True)
    return Ranking.listed(
        _ranks(rule, histories.items[start:target], int(histories.items[target]))
        for start, target in places
    )


def _ranks(rule: Rule, history: Longs, item: int) -> tuple[int, int]:
    """Rank of an item, plain and with the history left out."""
    scores = rule(history)
    before = scores > scores[item]
    before[:item] |= scores[:item] == scores[item]  # rows are in order of frequency
    plain = 1 + int(before.sum())
    if item in history:
        return plain, UNLISTED
    before[history[history < len(scores)]] = False
    return plain, 1 + int(before.sum())


def _below_one(counts: Longs) -> Doubles:
    return counts / (1.0 + counts.max(initial=0))
