"""A linear model of which items users have together, solved in one step.

H. Steck. 2019. Embarrassingly Shallow Autoencoders for Sparse Data. WWW (arXiv 1905.03375). With X
(users, V) of ones where a user has an item, the weights that tell best each of a user's items from
the others are

    P = (X' X + PENALTY * I)^-1,    B = I - P / diag(P),    scores = x B

The inverse takes V * V numbers, so a catalogue of more than ITEMS_MAX items is restricted to that
many of the most frequent ones; the rest have scores of 0.
"""

from __future__ import annotations

import numpy as np
import torch

from model.arrays import Doubles, Floats
from training.data.sequences import Histories
from training.rules.counting import gram_of
from training.rules.rule import History, Rule
from training.rules.session_knn import distinct

ITEMS_MAX = 10_000
PENALTY = 200.0


def learn(training: Histories, items: int) -> Rule:
    """All that each user had."""
    weights = _weights(training, min(items, ITEMS_MAX))

    def scored(history: History) -> Doubles:
        own = distinct(history.newest(len(weights), len(history.items)))
        scores = np.zeros(items)
        scores[: len(weights)] = weights[own].sum(axis=0)
        return scores

    return scored


def _weights(training: Histories, items: int) -> Floats:
    """B (items, items)."""
    gram = torch.from_numpy(gram_of(training.items, training.starts, items))
    gram.diagonal().add_(PENALTY)
    torch.linalg.cholesky(gram, out=gram)
    inverse = torch.cholesky_inverse(gram)
    inverse /= -inverse.diagonal().clone()
    inverse.fill_diagonal_(0)
    return inverse.numpy()
