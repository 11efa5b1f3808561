"""What came soon after what, over all users.

I. Kamehkhosh, D. Jannach, M. Ludewig. 2017. A Comparison of Frequent Pattern Techniques and a Deep
Learning Method for Session-Based Recommendation. RecTemp (sequential rules); M. Ludewig, D.
Jannach. 2018. Evaluation of Session-based Recommendation Algorithms. UMUAI 28 (weights 1 /
distance, at most ten events back).

    score(j) = sum over a = 1..5 of  1 / a * sum over pairs (item a, j) of  1 / distance

where item a is the user's a-th newest. The papers ask by the newest alone.
"""

from __future__ import annotations

import numpy as np

from training.data.sequences import Histories
from training.rules.rule import History, Rule
from training.rules.weights import Weights

STEPS = 10
NEWEST = 5


def learn(training: Histories, items: int) -> Rule:
    """Pairs of one user's events, up to STEPS apart."""
    users = np.repeat(np.arange(len(training.users)), training.lengths())
    known = training.items < items
    rows = []
    columns = []
    values = []
    for distance in range(1, STEPS + 1):
        one = users[distance:] == users[:-distance]
        one &= known[distance:] & known[:-distance]
        rows.append(training.items[:-distance][one])
        columns.append(training.items[distance:][one])
        values.append(np.full(int(one.sum()), 1.0 / distance))
    rules = Weights.summed(
        np.concatenate(rows), np.concatenate(columns), np.concatenate(values), items
    )

    def scored(history: History) -> np.ndarray:
        scores = np.zeros(items)
        for age, item in enumerate(history.newest(items, NEWEST).tolist(), 1):
            rules.add_row(scores, item, 1.0 / age)
        return scores

    return scored
