"""The offline check before a pilot:
a published bundle asked about clicks that it never learned from.

Everything is measured on the bundle as it serves: states folded event by event in their shipped
bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from model.arrays import Doubles
from model.bundle import files as bundle_files
from model.bundle.bundle import Bundle
from model.bundle.load import of_content
from model.levels import RECORD as LEVELS
from model.order import RECORD
from training.data.clicklog import ClickLog
from training.data.sequences import Histories
from training.measure import metrics
from training.measure.intervals import Estimate, estimates, wilson
from training.measure.ranking import Ranking
from training.pilot.cost import Cost, cost_of
from training.pilot.questions import (
    NEGATIVES,
    Answers,
    HeldOut,
    Questions,
    answer,
    ask,
    only,
    translate,
    vocabulary_of,
)
from training.recipe.look import Look, look
from training.rules.methods import ALL, rankings

BUNDLE = "this bundle"
FLOAT = "its float32 states"
POPULAR, LAST, *_ = ALL
K = 10
RANK_METRICS = ("hr10", "ndcg10", "mrr10", "hr10_excluded", "ndcg10_excluded", "mrr10_excluded")
CURVE_POINTS = 12
LENGTH_EDGES = (2, 3, 5, 10, 30, 100)

Figures = dict[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Candidates of similar predicted probability, and how many of them were clicked."""

    predicted: float
    observed: Estimate
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthGroup:
    """Questions after similarly many clicks of their users, and how well they are answered."""

    label: str
    count: int
    ndcg10: Estimate
    popularity: Estimate
    simple: str  # which simple method is the best over all questions
    best_simple: Estimate


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """This bundle beside another one on the questions that both can answer."""

    version: str
    count: int
    catalogues: tuple[int, int]
    own: Figures
    other: Figures
    difference: Figures  # own - other, paired
    own_clicks: dict[str, float]
    other_clicks: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """All that the check measured."""

    version: str
    metadata: dict[str, Any]
    config: dict[str, Any]
    data_set: str
    split: str
    look: Look  # of the log
    catalogue: int
    catalogue_share: float  # of the held-out clicks
    held: int
    asked: int
    users: int
    ranking: dict[str, Figures]  # by who ranks
    margin: dict[str, Figures]  # this bundle minus each other, paired
    clicks: dict[str, dict[str, float]]  # of this bundle and of its float32 states
    curve: list[CurvePoint]
    lengths: list[LengthGroup]
    cost: Cost
    against: Comparison | None = None

    def best_simple(self, metric: str = "ndcg10") -> str:
        """The simple method that is the best on this log."""
        return max(ALL, key=lambda name: self.ranking[name][metric].value)


def assess_bundle(
    content: bundle_files.BundleContent,
    held: HeldOut,
    *,
    data_set: str,
    count_max: int,
    beside_bytes: int,
    seed: int = 0,
    begin: Callable[[str], None] = lambda _: None,
    step: Callable[[], None] = lambda: None,
) -> tuple[Assessment, Questions, Answers]:
    """Ask the bundle, itself with float32 states, and the simple methods the same questions, and
    measure its cost. `begin` hears who is asked next, `step` is called after each answer.
    """
    bundle = of_content(content)
    exact = of_content(_with_float_states(content))
    items = len(bundle.items)
    asked = ask(held.held, items, count_max=count_max, seed=seed)
    begin(BUNDLE)
    served = answer(bundle, asked, step)
    begin(FLOAT)
    unrounded = answer(exact, asked, step)
    simple = rankings(
        ALL, held.learned, asked.histories, asked.targets, items, begin=begin, step=step
    )
    ranked = {BUNDLE: served.ranked, FLOAT: unrounded.ranked, **dict(simple)}
    values = {name: rank_values(found) for name, found in ranked.items()}
    users = asked.users
    own = values[BUNDLE]
    assessment = Assessment(
        version=content.version,
        metadata=content.metadata | {RECORD: dict(content.recommend), LEVELS: dict(content.levels)},
        config=dataclasses.asdict(content.config),
        data_set=data_set,
        split=held.split,
        look=look(held.log),
        catalogue=items,
        catalogue_share=held.catalogue_share,
        held=int(held.held.tails.sum()),
        asked=len(asked.targets),
        users=len(np.unique(users)),
        ranking={name: estimates(found, users, seed=seed) for name, found in values.items()},
        margin={
            name: estimates({key: own[key] - found[key] for key in own}, users, seed=seed)
            for name, found in values.items()
            if name != BUNDLE
        },
        clicks={BUNDLE: served.clicks.summary(), FLOAT: unrounded.clicks.summary()},
        curve=calibration_curve(served),
        lengths=by_length(asked, values, seed),
        cost=cost_of(bundle, asked, beside_bytes=beside_bytes, seed=seed),
    )
    return assessment, asked, served


def compare(
    asked: Questions,
    served: Answers,
    log: ClickLog,
    own: Bundle,
    other: Bundle,
    *,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Ask `other` the questions whose clicked item is in both catalogues;
    `log` is what they were made from.
    """
    there = translate(asked, Histories.of(log, vocabulary_of(other)), own, other)
    shared = there.candidates[:, 0] < len(other.items)
    there = only(there, shared)
    answers = answer(other, there, step)
    kept = Ranking(plain=served.ranked.plain[shared], excluded=served.ranked.excluded[shared])
    mine = rank_values(kept)
    yours = rank_values(answers.ranked)
    users = there.users
    rows = np.repeat(shared, 1 + NEGATIVES)
    own_clicks = dataclasses.replace(
        served.clicks,
        users=served.clicks.users[rows],
        labels=served.clicks.labels[rows],
        logits=served.clicks.logits[rows],
    )
    return Comparison(
        version=other.version,
        count=len(users),
        catalogues=(len(own.items), len(other.items)),
        own=estimates(mine, users, seed=seed),
        other=estimates(yours, users, seed=seed),
        difference=estimates({key: mine[key] - yours[key] for key in mine}, users, seed=seed),
        own_clicks=own_clicks.summary(),
        other_clicks=answers.clicks.summary(),
    )


def rank_values(found: Ranking) -> dict[str, Doubles]:
    """HR, NDCG and MRR at 10 of each question (m,), plain and excluded."""
    by_name = {"hr10": metrics.hit_ratio, "ndcg10": metrics.ndcg, "mrr10": metrics.reciprocal_rank}
    return {
        f"{name}{suffix}": metric(rank, K)
        for suffix, rank in (("", found.plain), ("_excluded", found.excluded))
        for name, metric in by_name.items()
    }


def calibration_curve(answers: Answers) -> list[CurvePoint]:
    """Predicted against observed, in groups that hold equally many
    clicks, highest probabilities last.
    """
    order = np.argsort(answers.clicks.logits, kind="stable")
    labels = answers.clicks.labels[order]
    predicted = metrics.sigmoid(answers.clicks.logits[order])
    so_far = np.cumsum(labels)
    edges = np.searchsorted(so_far, np.linspace(0, so_far[-1], CURVE_POINTS + 1)[1:-1], side="left")
    points = []
    for p, clicked in zip(np.split(predicted, edges), np.split(labels, edges), strict=True):
        if len(p):
            low, high = wilson(np.array(clicked.sum(), dtype=np.float64), np.array(float(len(p))))
            observed = Estimate(float(clicked.mean()), float(low), float(high))
            points.append(CurvePoint(predicted=float(p.mean()), observed=observed, count=len(p)))
    return points


def by_length(
    asked: Questions, values: dict[str, dict[str, Doubles]], seed: int
) -> list[LengthGroup]:
    """The questions by how many events their users had before: NDCG@10 of this bundle, of
    popularity, and of the simple method that is the best over all of them.
    """
    group = np.searchsorted(LENGTH_EDGES, asked.lengths, side="right")
    bounds = (1, *LENGTH_EDGES)
    labels = [_label(low, high) for low, high in pairwise(bounds)] + [f"{bounds[-1]} or more"]
    simple = max(values.keys() - {BUNDLE, FLOAT}, key=lambda name: (_ndcg(values[name]), name))
    found = []
    for number, label in enumerate(labels):
        at = group == number
        if at.any():
            columns = {name: values[name]["ndcg10"][at] for name in (BUNDLE, POPULAR, simple)}
            here = estimates(columns, asked.users[at], seed=seed)
            found.append(
                LengthGroup(
                    label=label,
                    count=int(at.sum()),
                    ndcg10=here[BUNDLE],
                    popularity=here[POPULAR],
                    simple=simple,
                    best_simple=here[simple],
                )
            )
    return found


def _with_float_states(content: bundle_files.BundleContent) -> bundle_files.BundleContent:
    return dataclasses.replace(
        content, config=dataclasses.replace(content.config, state_dtype="float32")
    )


def _label(low: int, high: int) -> str:
    """A group of lengths from `low` on, below `high`."""
    return str(low) if high == low + 1 else f"{low} to {high - 1}"


def _ndcg(values: dict[str, Doubles]) -> float:
    return float(values["ndcg10"].mean())
