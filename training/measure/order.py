"""By what a model's recommendations should be sorted, measured:
both orders on the same held-out clicks.

The full model's head is learned against drawn negatives and fits short lists like those; over a
whole catalogue it may rank worse than the next-item logit, or better. So each model is asked, as it
will be served.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from model.order import Order
from training.data.sequences import Held
from training.measure.ranking import Ranking
from training.measure.served import LISTED, places, walk

CLICKS_MAX = 2_000
SHOWN = ("hr10", "ndcg10", "hr10_excluded", "ndcg10_excluded")


def measured(bundle: Bundle, held: Held, seed: int = 0) -> dict[str, Any]:
    """The record of a bundle: the order with the better NDCG@10,
    and what both had on at most CLICKS_MAX clicks.

    Lists come from `Bundle.recommend` and from states in their shipped bytes, seen items in the
    ranking (the request's default). At a draw the next-item logit sorts.
    """
    targets = held.targets(len(bundle.items), CLICKS_MAX, np.random.default_rng(seed))
    if not len(targets):
        return {"order": Order.NEXT_ITEM.value}
    histories = held.histories
    orders = {order: bundle.ordered(order) for order in Order}
    found: dict[Order, list[tuple[int, int]]] = {order: [] for order in Order}
    for target, row in walk(bundle, histories, targets):
        item = int(histories.items[target])
        now_ms = int(histories.times_ms[target])
        for order, twin in orders.items():
            found[order].append(places(twin, row, item, now_ms))
    figures = {order: Ranking.listed(ranks).summary(LISTED) for order, ranks in found.items()}
    click_is_better = figures[Order.CLICK]["ndcg10"] > figures[Order.NEXT_ITEM]["ndcg10"]
    return {
        "order": (Order.CLICK if click_is_better else Order.NEXT_ITEM).value,
        "clicks": len(targets),
        "measured": {
            order.value: {name: round(values[name], 5) for name in SHOWN}
            for order, values in figures.items()
        },
    }
