"""The simple methods by name, and who ranks how well on some clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from model.arrays import Longs
from training.data.sequences import Histories
from training.measure.ranking import Ranking
from training.rules import (
    ease,
    item_knn,
    own,
    popular,
    popular_recent,
    sequential_rules,
    session_knn,
)
from training.rules.fresh import fresh
from training.rules.newest import kept, newest
from training.rules.rule import Learn, nothing, rank_by

POPULARITY = "popularity"
OWN_LAST = "own last items"
METHODS: Mapping[str, Learn] = {
    "popular-recent": fresh(popular_recent.learn),
    "frequency": own.learn_frequent,
    "sequential-rules": fresh(sequential_rules.learn),
    "item-knn": fresh(item_knn.learn),
    "session-knn": fresh(session_knn.learn),
    "ease": fresh(ease.learn),
}
ALL: Mapping[str, Learn] = {POPULARITY: popular.learn, OWN_LAST: own.learn_last, **METHODS}
EXPLAINED: Mapping[str, str] = {
    POPULARITY: "the most frequent items",
    OWN_LAST: "the user's own items, newest first",
    "popular-recent": "the most frequent items of a recent window",
    "frequency": "the user's own items by how often and how lately",
    "sequential-rules": "what came soon after what",
    "item-knn": "items of the same visits",
    "session-knn": "items of the most similar visits",
    "ease": "a linear model of which items go together",
}
CHEAP = ("frequency", "sequential-rules")  # seconds for ten thousand clicks
EVENTS_MAX = 2_000_000  # the newest are learned from: pairs of events take 50 times their memory


def rankings(
    names: Iterable[str],
    training: Histories,
    histories: Histories,
    targets: Longs,
    items: int,
    *,
    begin: Callable[[str], None] = lambda _: None,
    step: Callable[[], None] = nothing,
) -> Iterator[tuple[str, Ranking]]:
    """What each method, having learned from `training` (at most its newest EVENTS_MAX events),
    ranks the events at flat positions `targets` (m,) of `histories`; `begin` hears its name, `step`
    is called after each event.

    Raises:
        TrainingError: there is nothing to rank.
    """
    if len(training.items) > EVENTS_MAX:
        training = kept(training, newest(training, EVENTS_MAX / len(training.items)))
    for name in names:
        begin(name)
        rule = ALL[name](training, items)
        yield name, rank_by(rule, histories, targets, step)


def best_cheap(
    training: Histories, histories: Histories, targets: Longs, items: int
) -> tuple[str, Ranking]:
    """The better of CHEAP by NDCG@10, and its ranks; see `rankings`."""
    found = dict(rankings(CHEAP, training, histories, targets, items))
    best = max(found, key=lambda name: found[name].summary()["ndcg10"])
    return best, found[best]
