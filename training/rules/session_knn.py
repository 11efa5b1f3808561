"""What was in the visits that are most like the user's own.

M. Ludewig, D. Jannach. 2018. Evaluation of Session-based Recommendation Algorithms. UMUAI 28
(V-SKNN). Of the NEWEST visits that share an item with the user's own, the NEIGHBOURS most similar
ones vote for their items:

    similarity(p) = sum over shared items of  1 / sqrt(1 + age)  / sqrt(items of p)
    score(j)      = sum over neighbours p with j of similarity(p)

The user's own are the OWN newest events; the age of an item is how many others came after it.
Weights that fall with the root, and no second fading of the votes, are better on long sessions than
the paper's linear ones, and hardly worse on short ones (docs/decisions/0064-simple-methods.md).
"""

from __future__ import annotations

import numpy as np

from model.arrays import Doubles, Longs
from training.data.sequences import Histories
from training.rules.rule import History, Rule
from training.rules.visits import Sets, visits_of

NEWEST = 500
NEIGHBOURS = 100
OWN = 10  # of the user's events; more say little of what is wanted now, where histories are long


def learn(training: Histories, items: int) -> Rule:
    """The visits of all users."""
    visits = visits_of(training, items)

    def scored(history: History) -> Doubles:
        return _votes(visits, distinct(history.newest(items, OWN)), items)

    return scored


def distinct(rows: Longs) -> Longs:
    """Each row once, in the order of its first place."""
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _votes(visits: Sets, own: Longs, items: int) -> Doubles:
    """Scores (V,) after the distinct items `own`, newest first."""
    sharing = [
        visits.visits[visits.item_starts[item] : visits.item_starts[item + 1]][-NEWEST:]
        for item in own.tolist()
    ]
    counts = [len(part) for part in sharing]
    if not sum(counts):
        return np.zeros(items)
    weights = np.repeat(1.0 / np.sqrt(1.0 + np.arange(len(own))), counts)
    found, whose = np.unique(np.concatenate(sharing), return_inverse=True)
    begins = visits.starts[found]
    lengths = visits.starts[found + 1] - begins
    similarity = np.bincount(whose, weights=weights) / np.sqrt(lengths)
    newest = np.arange(len(found))[-NEWEST:][::-1]  # of equally similar ones the newest
    chosen = newest[np.argsort(-similarity[newest], kind="stable")[:NEIGHBOURS]]
    lengths = lengths[chosen]
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    voted = visits.items[np.repeat(begins[chosen], lengths) + offsets]
    votes = np.repeat(similarity[chosen], lengths)
    return np.bincount(voted, weights=votes, minlength=items).astype(np.float64)
