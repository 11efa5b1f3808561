"""What `echorank train` and `echorank publish` do, with a word to the person who waits."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from training import datasets
from training.checkpoint import Checkpoint
from training.columns import TimeUnit
from training.errors import DatasetError
from training.publish import Published, publish
from training.runs import Run, train_by_time, train_leave_one_out
from training.train import TrainConfig

SHOWN = ("hr10", "ndcg10", "mrr10", "hr10_excluded", "ndcg10_excluded", "mrr10_excluded")


def train_model(
    data_set: str,
    *,
    out: Path,
    path: Path | str | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    fields: dict[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    cache: Path | None = None,
    console: Console | None = None,
) -> Run:
    """Train on a data set by name, print how it compares to popularity, and save the model to `out`.

    Named sets are split leave-one-out, as published comparisons do; a log of your own (`file`, `archive`) by time, as
    it will be used.

    Raises:
        DatasetError: the data cannot be had or read.
        ValueError: a setting is out of range.

    """
    console = console or Console()
    settings = TrainConfig(seed=seed, minutes_max=minutes, device=device)
    log = datasets.load(data_set, path=path, cache=cache, fields=fields, time_unit=time_unit)
    users, items, events = log.counts()
    console.print(f"{data_set}: {users:,} users, {items:,} items, {events:,} events")
    training = train_by_time if data_set in datasets.OWN_LOGS else train_leave_one_out
    run = training(
        log,
        data_set=data_set,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        settings=settings,
        show_progress=console.is_terminal,
    )
    run.checkpoint.save(out)
    console.print(comparison(run))
    console.print(
        f"best epoch {run.model.best.epoch + 1} of {len(run.model.history)}, {run.model.seconds:.0f} s; "
        f"saved to {out}; next: echorank publish {out}"
    )
    return run


def column_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`["user=uid", "time=ts"]` as {role: column}.

    Raises:
        DatasetError: a pair has no `=`.

    """
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise DatasetError(f"column mapping {wrong}: write each as ROLE=COLUMN, such as user=uid")
    return dict(pair.split("=", 1) for pair in pairs)


def publish_model(model: Path, *, out: Path, console: Console | None = None) -> Published:
    """Write the trained model in `model` as a bundle to `out`, verified by its golden scores.

    Raises:
        DatasetError: `model` holds no trained model.

    """
    published = publish(Checkpoint.load(model), out)
    (console or Console()).print(f"bundle {published.version} in {out}, golden scores verified")
    return published


def comparison(run: Run) -> Table:
    """The model beside popularity, plain and with seen items excluded."""
    table = Table(title=f"{run.test['events']:,.0f} held-out events, ranked among {len(run.checkpoint.items):,} items")
    table.add_column("")
    for name in SHOWN:
        table.add_column(name, justify="right")
    for label, found in (("this model", run.test), ("popularity", run.popularity)):
        table.add_row(label, *(f"{found[name]:.4f}" for name in SHOWN))
    return table
