"""Whether a bundle is ready for a pilot: a few criteria,
each measured against a limit that stands here.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.pilot.assessment import BUNDLE, FLOAT, Assessment
from training.rules.methods import EXPLAINED

LOSS_MAX = 0.002  # of NDCG@10 and of AUC, through rounded states
ECE_MAX_OF_BASE = 0.25  # of the average click probability
BYTES_MAX = 4096  # a user and arm, index included
# of a score call with 500 candidates; a third of 15 ms, the rest is for network and queue
P99_MAX_MS = 5.0
ASKED_MIN = 500
CATALOGUE_MIN = 0.8
MODES = {"ndcg10": "", "ndcg10_excluded": ", seen items out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One question of the verdict."""

    name: str
    passed: bool
    measured: str
    limit: str


def criteria(found: Assessment) -> list[Criterion]:
    """All of them, in the order of the report."""
    clicks = found.clicks[BUNDLE]
    cost = found.cost
    loss_ndcg = -found.margin[FLOAT]["ndcg10"].value
    loss_auc = found.clicks[FLOAT]["auc"] - clicks["auc"]
    base = clicks_base(found)
    p99 = cost.latency_ms[500][1]
    return [
        Criterion(
            name="Enough clicks to judge by",
            passed=found.asked >= ASKED_MIN,
            measured=f"{found.asked:,} held-out clicks of {found.users:,} users",
            limit=f"at least {ASKED_MIN:,}",
        ),
        Criterion(
            name="The catalogue covers the clicks",
            passed=found.catalogue_share >= CATALOGUE_MIN,
            measured=f"{percent(found.catalogue_share)} of the held-out clicks are on known items",
            limit=f"at least {percent(CATALOGUE_MIN)}",
        ),
        _better_than_simple(found, "ndcg10"),
        _better_than_simple(found, "ndcg10_excluded"),
        Criterion(
            name="Compact states cost no accuracy",
            passed=max(loss_ndcg, loss_auc) <= LOSS_MAX,
            measured=f"NDCG@10 {-loss_ndcg:+.4f}, AUC {-loss_auc:+.4f} against float32 states",
            limit=f"lose at most {LOSS_MAX}",
        ),
        Criterion(
            name="Probabilities mean what they say",
            passed=clicks["ece"] <= ECE_MAX_OF_BASE * base,
            measured=f"expected calibration error {clicks['ece']:.4f} at an average of {base:.3f}",
            limit=f"at most {ECE_MAX_OF_BASE * base:.4f}",
        ),
        Criterion(
            name="Small enough",
            passed=cost.user_bytes <= BYTES_MAX,
            measured=f"{cost.user_bytes:,} bytes a user",
            limit=f"at most {BYTES_MAX:,}",
        ),
        Criterion(
            name="Fast enough",
            passed=p99 <= P99_MAX_MS,
            measured=f"p99 {p99:.2f} ms for 500 candidates, in process",
            limit=f"at most {P99_MAX_MS:g} ms",
        ),
    ]


def clicks_base(found: Assessment) -> float:
    """The share of candidates that were clicked."""
    return sum(point.observed.value * point.count for point in found.curve) / sum(
        point.count for point in found.curve
    )


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %"


def verdict(found: Assessment, tested: list[Criterion]) -> str:
    """The verdict in one paragraph, with what matters most of how the log looks."""
    best = found.best_simple()
    own = found.ranking[BUNDLE]["hr10"].value
    simple = found.ranking[best]["hr10"].value
    shown = (
        f"Of {found.asked:,} clicks that it never learned from, the bundle has the right item "
        f"among its first ten of {found.catalogue:,} in {percent(own)} (the best simple method, "
        f"{best}: {percent(simple)}), and a user costs {found.cost.user_bytes:,} bytes. "
        + " ".join(f"{sentence}." for sentence in found.look.describe()[:2])
    )
    failed = [each.name.lower() for each in tested if not each.passed]
    if not failed:
        return f"Ready for a pilot: all {len(tested)} criteria are met. {shown}"
    met = len(tested) - len(failed)
    missed = f"{met} of {len(tested)} criteria are met; missed: {', '.join(failed)}."
    return " ".join([f"Not ready for a pilot: {missed}", *_as_good(found), shown])


def _better_than_simple(found: Assessment, metric: str) -> Criterion:
    best = found.best_simple(metric)
    margin = found.margin[best][metric]
    return Criterion(
        name=f"Better than the best simple method{MODES[metric]}",
        passed=margin.low > 0,
        measured=f"NDCG@10 {margin.value:+.4f} ({margin.low:+.4f} to {margin.high:+.4f}) against "
        f"{best}",
        limit="above 0 with 95 % confidence",
    )


def _as_good(found: Assessment) -> list[str]:
    """A sentence for each way of asking in which a simple method does as well."""
    said = []
    for metric, mode in MODES.items():
        best = found.best_simple(metric)
        margin = found.margin[best][metric]
        if margin.low <= 0:
            how = "better than" if margin.high < 0 else "as well as"
            said.append(
                f"A simple method ranks {how} this bundle on this log{mode}: {best} "
                f"({EXPLAINED[best]}), NDCG@10 {found.ranking[best][metric].value:.4f} against "
                f"{found.ranking[BUNDLE][metric].value:.4f}; pilot that first, or train longer."
            )
    return said
