"""What a model's answers should be made of, measured: by what `Recommend` sorts, and whether the
full model's head may answer at all. Both levels are asked about the same held-out clicks.

The head corrects the next-item logit by what it learned on lists that the model draws itself; over
a whole catalogue, or on other lists, it may rank worse than the logit, or better. So each model is
asked, as it will be served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from model.arrays import Doubles, Longs
from model.bundle.bundle import Bundle
from model.levels import Level
from model.order import Order
from training.data.sequences import Held
from training.measure import metrics
from training.measure.intervals import estimates
from training.measure.ranking import Ranking
from training.measure.served import LISTED, clicks_of, places, walk
from training.measure.shelves import Asked, Shelf, Shelves

CLICKS_MAX = 2_000
SHELVES_MAX = 1_000  # of these clicks, asked beside candidates of each kind
LISTS = "lists"  # what `Recommend` would give
KINDS = (Shelf.UNIFORM, Shelf.POPULAR)
SHOWN = ("hr10", "ndcg10", "hr10_excluded", "ndcg10_excluded")


class Measured(NamedTuple):
    """Two records of a bundle."""

    recommend: dict[str, Any]  # the order, and the figures of both (`model.order`)
    levels: dict[str, Any]  # the best level, and the figures of both (`model.levels`)


class Pair(NamedTuple):
    """One figure of each question (m,) at both levels."""

    full: Doubles
    sequence: Doubles


def measured(bundle: Bundle, held: Held, seed: int = 0) -> Measured:
    """Ask at most CLICKS_MAX clicks at both levels, with states in their shipped bytes; fewer of
    a large catalogue.

    `Recommend` sorts by clicks if FULL may answer and these lists have the better NDCG@10 (seen
    items in the ranking, the request's default); at a draw the next-item logit sorts.
    """
    items = len(bundle.items)
    targets = held.targets(items, clicks_of(items, CLICKS_MAX), np.random.default_rng(seed))
    if not len(targets):
        return Measured({"order": Order.NEXT_ITEM.value}, {"best": Level.FULL.name})
    histories = held.histories
    bundle = bundle.limited(Level.FULL)
    orders = {order: bundle.ordered(order) for order in Order}
    found: dict[Order, list[tuple[int, int]]] = {order: [] for order in Order}
    shelves = {kind: Shelves(bundle, histories, kind, seed) for kind in KINDS}
    step = -(-len(targets) // SHELVES_MAX)
    for number, (target, row) in enumerate(walk(bundle, histories, targets)):
        item = int(histories.items[target])
        now_ms = int(histories.times_ms[target])
        for order, twin in orders.items():
            found[order].append(places(twin, row, item, now_ms))
        if number % step == 0:
            for shelf in shelves.values():
                shelf.ask(target, row)
    ranked = {order: Ranking.listed(ranks) for order, ranks in found.items()}
    users = np.searchsorted(histories.starts, targets, side="right") - 1
    compared = {LISTS: _compared(_of_lists(ranked), users, seed)}
    for kind, shelf in shelves.items():
        asked = shelf.asked()
        compared[kind.value] = _compared(_of_shelves(asked), asked[Level.FULL].users, seed)
    level = best(compared)
    return Measured(
        recommend=_order(ranked, level, len(targets)),
        levels={"best": level.name, "clicks": len(targets), "measured": compared},
    )


def best(compared: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Level:
    """FULL if it is worse than SEQUENCE beyond chance on no kind of list,
    and better on one at least; else SEQUENCE, which costs less.

    `compared` has, by kind and figure, the `difference` FULL - SEQUENCE and its 95 % interval over
    users: [mean, low, high].
    """
    differences = [figure["difference"] for kind in compared.values() for figure in kind.values()]
    worse = any(high < 0 for _, _, high in differences)
    better = any(mean > 0 for mean, _, _ in differences)
    return Level.FULL if better and not worse else Level.SEQUENCE


def _of_lists(ranked: Mapping[Order, Ranking]) -> dict[str, Pair]:
    full = ranked[Order.CLICK]
    sequence = ranked[Order.NEXT_ITEM]
    return {
        "ndcg10": Pair(metrics.ndcg(full.plain, LISTED), metrics.ndcg(sequence.plain, LISTED)),
        "ndcg10_excluded": Pair(
            metrics.ndcg(full.excluded, LISTED), metrics.ndcg(sequence.excluded, LISTED)
        ),
    }


def _of_shelves(asked: Mapping[Level, Asked]) -> dict[str, Pair]:
    full = asked[Level.FULL]
    sequence = asked[Level.SEQUENCE]
    return {
        "ndcg10": Pair(full.ndcg(), sequence.ndcg()),
        "auc": Pair(full.auc(), sequence.auc()),
    }


def _compared(pairs: Mapping[str, Pair], users: Longs, seed: int) -> dict[str, dict[str, Any]]:
    differences = {name: pair.full - pair.sequence for name, pair in pairs.items()}
    found = estimates(differences, users, seed=seed)
    return {
        name: {
            Level.FULL.name: round(float(pair.full.mean()), 5),
            Level.SEQUENCE.name: round(float(pair.sequence.mean()), 5),
            "difference": [round(value, 5) for value in found[name]],
        }
        for name, pair in pairs.items()
    }


def _order(ranked: Mapping[Order, Ranking], level: Level, clicks: int) -> dict[str, Any]:
    figures = {order: ranks.summary(LISTED) for order, ranks in ranked.items()}
    better = figures[Order.CLICK]["ndcg10"] > figures[Order.NEXT_ITEM]["ndcg10"]
    by_click = better and level is Level.FULL
    return {
        "order": (Order.CLICK if by_click else Order.NEXT_ITEM).value,
        "clicks": clicks,
        "measured": {
            order.value: {name: round(values[name], 5) for name in SHOWN}
            for order, values in figures.items()
        },
    }
