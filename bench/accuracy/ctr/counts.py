"""Where item biases start: how often each item was liked, in all that was known before validation.

Impressions to learn from are a sample of events with long histories; the log has many more events
that tell whether an item is liked, those of short histories among them.
"""

from __future__ import annotations

import numpy as np

from bench.accuracy.ctr.data import Impressions
from model.arrays import Doubles

PRIOR = 10.0  # events of the average item, added to each


def liked(data: Impressions) -> Doubles:
    """Logit (V,) of each catalogue item's share of likes, shrunk towards the share of all."""
    known = data.times_ms < data.times_split_ms[0]
    items = data.items[known]
    labels = data.labels[known]
    V = len(data.vocabulary.items)
    count = np.bincount(items, minlength=V)[:V]
    likes = np.bincount(items, weights=labels, minlength=V)[:V]
    share = (likes + PRIOR * labels.mean()) / (count + PRIOR)
    return np.asarray(np.log(share) - np.log1p(-share))
