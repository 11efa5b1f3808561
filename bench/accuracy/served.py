"""What a model is worth as it is served: rows of the tasks `recommend` and `score`.

Both ask the code that answers the API, from the states that the shipped fold leaves. `recommend`:
the place of each held-out item in the lists of 20 that `Recommend` gives, in the order that the
bundle records; with seen items out, an item that was seen is a miss, as it is there. `score`: the
held-out item among 99 others (`training.measure.shelves`) by the probabilities of `Score`, at both
levels, also at one that the bundle does not answer at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.accuracy import rows
from bench.accuracy.states.served_ranks import walk_together
from model.bundle.bundle import Bundle
from model.levels import Level
from training.data.sequences import Held
from training.measure.intervals import estimates
from training.measure.ranking import Ranking
from training.measure.served import places
from training.measure.shelves import Asked, Shelf, Shelves

LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Found:
    """Figures of one row, and what else it says."""

    task: rows.Task
    figures: Mapping[str, float]
    more: Mapping[str, Any]


def as_served(
    bundle: Bundle, held: Held, shelves: Sequence[Shelf] = tuple(Shelf), seed: int = 0
) -> Iterator[Found]:
    """One row of lists, then two of each kind of candidates, from one pass over the events.

    Raises:
        TrainingError: there is nothing to rank.
    """
    histories = held.histories
    both = bundle.limited(Level.FULL)
    asking = {shelf: Shelves(both, histories, shelf, seed) for shelf in shelves}
    ranks = []
    for target, row in walk_together(bundle, held):
        item = int(histories.items[target])
        ranks.append(places(bundle, row, item, int(histories.times_ms[target]), LISTED))
        for each in asking.values():
            each.ask(target, row)
    yield recommended(Ranking.listed(ranks), order=bundle.order.value, best=bundle.best.name)
    for shelf, each in asking.items():
        yield from _scored(shelf, each.asked(), bundle.best)


def recommended(ranking: Ranking, **more: Any) -> Found:
    """The row of lists of LISTED that gave these ranks."""
    figures = {**ranking.summary(), **ranking.summary(LISTED)}
    figures = {name: figures[name] for name in rows.FIGURES["recommend"]}
    more |= {"questions": len(ranking.plain), "intervals": pairs(ranking)}
    return Found(task="recommend", figures=figures, more=more)


def _scored(shelf: Shelf, asked: Mapping[Level, Asked], best: Level) -> Iterator[Found]:
    ndcg = {level: found.ndcg() for level, found in asked.items()}
    gauc = {level: found.auc() for level, found in asked.items()}
    for level, found in asked.items():
        values = {"ndcg10": ndcg[level], "gauc": gauc[level]}
        if level is Level.FULL:
            values["ndcg10_gain"] = ndcg[level] - ndcg[Level.SEQUENCE]
            values["gauc_gain"] = gauc[level] - gauc[Level.SEQUENCE]
        known = estimates(values, found.users)
        more: dict[str, Any] = {
            "candidates": shelf.value,
            "level": level.name,
            "answered": level >= best,
            "intervals": {
                name: [round(found.low, 5), round(found.high, 5)] for name, found in known.items()
            },
        }
        if level is Level.FULL:
            gains = {name: known[f"{name}_gain"].value for name in ("ndcg10", "gauc")}
            more["over_sequence"] = {name: round(value, 5) for name, value in gains.items()}
        yield Found(task="score", figures=found.summary(), more=more)


def pairs(ranking: Ranking) -> dict[str, list[float]]:
    """95 % intervals of HR and NDCG at 10: `{"hr10": [low, high]}`."""
    ends = ranking.intervals()
    names = [name.removesuffix("_low") for name in ends if name.endswith("_low")]
    return {name: [round(ends[f"{name}_low"], 5), round(ends[f"{name}_high"], 5)] for name in names}
