"""The items that were in the same visits as the user's own.

B. Sarwar, G. Karypis, J. Konstan, J. Riedl. 2001. Item-based Collaborative Filtering Recommendation
Algorithms. WWW. Similarities are cosines over visits, damped where both items are rare; a
user's newest items count most:

    similarity(i, j) = visits with both / (sqrt(visits with i * visits with j) + DAMPED)
    score(j)         = sum over the user's distinct items i of  similarity(i, j) / (1 + age)
"""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles
from training.data.sequences import Histories
from training.rules.counting import nearest
from training.rules.rule import History, Rule
from training.rules.session_knn import distinct
from training.rules.visits import EVENTS_MAX, visits_of
from training.rules.weights import Weights

NEIGHBOURS = 200  # of an item, at most
DAMPED = 5.0


def learn(training: Histories, items: int) -> Rule:
    """The nearest items of each, over all visits."""
    visits = visits_of(training, items)
    starts, columns, values = nearest(*visits, DAMPED, NEIGHBOURS)
    similar = Weights(starts=starts, columns=columns, values=values)

    def scored(history: History) -> Doubles:
        scores = np.zeros(items)
        for age, item in enumerate(distinct(history.newest(items, EVENTS_MAX)).tolist()):
            similar.add_row(scores, item, 1.0 / (1.0 + age))
        return scores

    return scored
