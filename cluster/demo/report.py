"""What the demonstration found: means over clicks with their sampling errors, and the table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from cluster.demo.clicks import Question
from cluster.demo.stream import Answers
from model.levels import Level

WITHIN = 1.96  # standard errors to either side: 95 % of a normal distribution


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def hits(ranks: Sequence[int]) -> list[float]:
    """1 for each click whose item was in the top 10, else 0; the mean is HR@10."""
    return [float(rank >= 0) for rank in ranks]


def gains(ranks: Sequence[int]) -> list[float]:
    """1 / log2(place + 2) for each click, 0 where the item was not in the top 10;
    the mean is NDCG@10.
    """
    return [1 / math.log2(rank + 2) if rank >= 0 else 0.0 for rank in ranks]


def estimate(values: Sequence[float], users: Sequence[str], clicks: Mapping[str, int]) -> Estimate:
    """The mean over all `clicks` (user: how many), from the `values` of those asked about.

    `users` says whose each value is. A user's own mean stands for all clicks of the user, so it
    does not matter that one with few clicks was asked about a larger share of them. The error is
    that of a ratio of sums over users drawn at random (W. G. Cochran. 1977. Sampling Techniques.
    Section 6.4): a user's clicks are alike, so it is users who are counted. It is not a number
    where there is one user only.
    """
    names, whose, asked = np.unique(users, return_inverse=True, return_counts=True)
    means = np.bincount(whose, weights=values) / asked
    weights = np.array([clicks[name] for name in names.tolist()], dtype=np.float64)
    value = float(weights @ means / weights.sum())
    if len(names) == 1:
        return Estimate(value, math.nan)
    off = weights * (means - value)
    square = off @ off * len(names) / (len(names) - 1)
    return Estimate(value, float(np.sqrt(square) / weights.sum()))


def summary(
    plan: Sequence[Question], answers: Answers, frozen: Sequence[int], popular: Sequence[int]
) -> dict[str, Any]:
    """Every figure of the answers; the ranks of `frozen` and `popular` are of the questions in
    their order.
    """
    clicks = Counter(question.click.user for question in plan)
    in_order = [question.click.user for question in plan if question.candidates]
    found: dict[str, Any] = {
        "events": len(plan),
        "asked": len(answers.ranks),
        "asked_users": len(set(answers.users)),
        "events_per_s": round(len(plan) / answers.seconds, 1),
    }
    for suffix, ranks, users in (
        ("", answers.ranks, answers.users),
        ("_frozen", frozen, in_order),
        ("_popularity", popular, in_order),
    ):
        found |= _named(f"hr10{suffix}", estimate(hits(ranks), users, clicks))
        found |= _named(f"ndcg10{suffix}", estimate(gains(ranks), users, clicks))
    among = [float(place < 10) for place in answers.places]
    return (
        found
        | _named("hr10_of_100", estimate(among, answers.users, clicks))
        | _named("auc", estimate(answers.aucs, answers.users, clicks))
        | {
            "score_ms_p50": round(float(np.percentile(answers.score_ms, 50)), 2),
            "score_ms_p99": round(float(np.percentile(answers.score_ms, 99)), 2),
            "event_to_score_ms_p99": round(float(np.percentile(answers.visible_ms, 99)), 1),
            "answers_by_level": {
                Level(level).name: round(count / answers.levels.total(), 4)
                for level, count in sorted(answers.levels.items())
            },
            "retries": answers.retries,
            "errors": answers.errors,
        }
    )


def table(found: Mapping[str, Any]) -> Table:
    """The figures for somebody who reads them on a terminal."""
    drawn = Table(title="Prequential: clicks asked for before they happened")
    for column in ("", "HR@10", "NDCG@10"):
        drawn.add_column(column, justify="left" if not column else "right")
    for label, suffix in (
        ("streaming states", ""),
        ("frozen states", "_frozen"),
        ("popularity", "_popularity"),
    ):
        drawn.add_row(label, _shown(found, f"hr10{suffix}"), _shown(found, f"ndcg10{suffix}"))
    drawn.add_section()
    for key, value in found.items():
        if not key.startswith(("hr10", "ndcg10")) and not key.endswith("_error"):
            shown = _shown(found, key) if f"{key}_error" in found else str(value)
            drawn.add_row(key, shown, "")
    return drawn


def sampled(found: Mapping[str, Any]) -> str:
    """How many clicks the figures come from, and what stands after ±."""
    return (
        f"Asked before {found['asked']:,} of {found['events']:,} clicks, of each of "
        f"{found['asked_users']:,} users; ± is half a 95 % interval, users drawn at random."
    )


def _named(name: str, found: Estimate) -> dict[str, float]:
    return {name: round(found.value, 4), f"{name}_error": round(found.error, 4)}


def _shown(found: Mapping[str, Any], name: str) -> str:
    return f"{found[name]:.4f} ± {WITHIN * found[f'{name}_error']:.4f}"
