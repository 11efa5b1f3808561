"""Where hardly anybody takes an item twice, a list is better without the user's own items."""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles
from training.data.sequences import Histories
from training.rules.newest import newest
from training.rules.rule import History, Learn, Rule

REPEATS_MIN = 0.02  # of the newest clicks


def fresh(learn: Learn) -> Learn:
    """The same method, which puts own items last if the training says that they do not come
    again.
    """

    def learned(training: Histories, items: int) -> Rule:
        rule = learn(training, items)
        return rule if repeats(training) >= REPEATS_MIN else lambda history: _without(rule, history)

    return learned


def repeats(histories: Histories) -> float:
    """Share of the newest tenth of the events that are on an item which their user had before."""
    users = np.repeat(np.arange(len(histories.users)), histories.lengths())
    keys = users * (1 + histories.items.max(initial=0)) + histories.items
    first = np.unique(keys, return_index=True)[1]
    again = np.ones(len(keys), dtype=bool)
    again[first] = False
    late = newest(histories)
    return float(again[late].mean()) if late.any() else 0.0


def _without(rule: Rule, history: History) -> Doubles:
    scores = rule(history).copy()
    scores[history.items[history.items < len(scores)]] = -np.inf
    return scores
