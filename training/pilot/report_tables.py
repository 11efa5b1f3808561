"""The report as tables on a terminal, and as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from training.pilot.assessment import RANK_METRICS, Assessment, Comparison
from training.pilot.criteria import Criterion, verdict

NAME_WIDTH = 16  # names of methods are read whole on 80 columns
CLICK_METRICS = ("auc", "gauc", "log_loss", "ece")


def tables(found: Assessment, tested: Sequence[Criterion]) -> Iterator[Table]:
    """One after the other: ranking, clicks, another bundle where there is one, cost, criteria."""
    title = (
        f"{found.asked:,} clicks ranked among {found.catalogue:,} items; ± is half of a 95 % "
        "interval"
    )
    ranking = _table(title, "", *RANK_METRICS)
    for name, figures in found.ranking.items():
        ranking.add_row(name, *(_plus_minus(figures[metric]) for metric in RANK_METRICS))
    yield ranking
    clicks = _table("each click beside 99 unseen items, drawn uniformly", "", *CLICK_METRICS)
    for name, values in found.clicks.items():
        clicks.add_row(name, *(f"{values[metric]:.4f}" for metric in CLICK_METRICS))
    yield clicks
    if found.against:
        yield _against(found.against)
    cost = found.cost
    timed = _table(
        (
            f"{cost.user_bytes:,} bytes a user, {cost.users_gib(1_000_000):.2f} GiB a million; "
            "processor time a call"
        ),
        "candidates",
        "p50 ms",
        "p99 ms",
    )
    for candidates, (p50, p99) in cost.latency_ms.items():
        timed.add_row(f"{candidates:,}", f"{p50:.2f}", f"{p99:.2f}")
    yield timed
    checked = Table(title="ready for a pilot?", title_justify="left")
    for name in ("", "criterion", "measured", "limit"):
        checked.add_column(name, overflow="fold")
    for each in tested:
        mark = "[green]met[/green]" if each.passed else "[red]missed[/red]"
        checked.add_row(mark, each.name, each.measured, each.limit)
    yield checked


def as_json(found: Assessment, tested: Sequence[Criterion]) -> str:
    """Everything that was measured, with the verdict first."""
    content: dict[str, Any] = {
        "ready": all(each.passed for each in tested),
        "verdict": verdict(found, list(tested)),
        "criteria": [dataclasses.asdict(each) for each in tested],
        **dataclasses.asdict(found),
        "best_simple": found.best_simple(),
        "best_simple_excluded": found.best_simple("ndcg10_excluded"),
    }
    return json.dumps(_named(content), indent=2) + "\n"


def _named(value: Any) -> Any:
    """Named tuples as objects, so that no reader has to count places."""
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): _named(each) for key, each in value.items()}
    return [_named(each) for each in value] if isinstance(value, list | tuple) else value


def _against(found: Comparison) -> Table:
    table = _table(
        f"the same {found.count:,} clicks asked of {found.version}",
        "",
        "this bundle",
        "the other",
        "difference",
        "95 %",
    )
    for name in RANK_METRICS:
        gap = found.difference[name]
        values = (
            f"{found.own[name].value:.4f}",
            f"{found.other[name].value:.4f}",
            f"{gap.value:+.4f}",
        )
        table.add_row(name, *values, f"{gap.low:+.4f} to {gap.high:+.4f}")
    for name in CLICK_METRICS:
        own = found.own_clicks[name]
        other = found.other_clicks[name]
        table.add_row(name, f"{own:.4f}", f"{other:.4f}", f"{own - other:+.4f}", "")
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, min_width=NAME_WIDTH)
    for name in numbers:
        table.add_column(name.replace("_excluded", "\nexcl."), justify="right")
    return table


def _plus_minus(estimate: tuple[float, float, float]) -> str:
    value, low, high = estimate
    return f"{value:.4f}\n±{(high - low) / 2:.4f}"
