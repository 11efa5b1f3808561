"""How good a click-through method is on long histories: trains one, or all,
and adds their rows to the table.

    python -m bench.accuracy ctr --data ml-1m --model streaming --seed 1

A row is written as soon as its model is done, so a run that is stopped loses one model at most;
with `--model all` models whose row is there already, from the same settings, are passed over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, get_args

import torch
import typer

from bench import report
from bench.accuracy import rows
from bench.accuracy.ctr.data import CtrProtocol, Impressions, impressions
from bench.accuracy.ctr.genres import genres
from bench.accuracy.ctr.methods import COUNTED, METHODS, NEEDS_CATEGORIES, SHAPE, method
from bench.accuracy.ctr.train import CtrConfig, CtrEpoch, evaluate, train
from bench.accuracy.rows import Row
from training.commands import column_mapping
from training.data import datasets
from training.data.time_column import TimeUnit
from training.fit.allocation import keep_freed_memory


class Study(NamedTuple):
    """What all models of one run share."""

    dataset: str
    data: Impressions
    protocol: CtrProtocol
    settings: CtrConfig

    def recipe(self) -> dict[str, object]:
        """All settings, as a row keeps them."""
        return {**dataclasses.asdict(self.protocol), **dataclasses.asdict(self.settings)}


def dataset_name(data: str, protocol: CtrProtocol) -> str:
    """The name that rows carry: the set and what decides which impressions it gives."""
    return f"{data}, histories {protocol.history_min} to {protocol.length}"


def ctr(
    data: Annotated[str, typer.Option(help="Data set by name, 'file' or 'archive'.")] = "ml-1m",
    model: Annotated[
        str, typer.Option(help=f"One of {', '.join(METHODS)}, or 'all'.")
    ] = "streaming",
    seed: Annotated[int, typer.Option(help="Of the sample, the weights and the batches.")] = 0,
    history_min: Annotated[int, typer.Option(help="Events before an impression, at least.")] = 200,
    length: Annotated[
        int, typer.Option(help="Events of a history that are looked at, at most.")
    ] = 1000,
    train_size: Annotated[int, typer.Option("--train", help="Impressions to train on.")] = 120_000,
    test_size: Annotated[int, typer.Option("--test", help="Impressions to test on.")] = 40_000,
    epochs: Annotated[int, typer.Option(help="At most; the best by validation AUC is tested.")] = 3,
    minutes: Annotated[
        float | None, typer.Option(help="Of training, for each model; ends the schedule early.")
    ] = None,
    label_from: Annotated[
        float, typer.Option(help="Ratings from here on are positive; 1 for a label column.")
    ] = 4.0,
    path: Annotated[
        str | None, typer.Option(help="Of your copy, for sets that are not fetched.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="ROLE=COLUMN of a file, repeated.")
    ] = None,
    time_unit: Annotated[
        str, typer.Option(help="Of a file's numeric times: ms, s, us, ns or iso8601.")
    ] = "ms",
    threads: Annotated[
        int, typer.Option(help="Of PyTorch; results depend on it in the last digits.")
    ] = 1,
    out: Annotated[Path, typer.Option(help="The table.")] = rows.PATH,
) -> None:
    """Train and test click-through methods on long histories."""
    report.refuse_changes(out)
    torch.set_num_threads(threads)
    keep_freed_memory()
    protocol = CtrProtocol(
        label_from=label_from,
        history_min=history_min,
        length=length,
        training=train_size,
        test=test_size,
        seed=seed,
    )
    settings = CtrConfig(epochs=epochs, minutes_max=minutes, seed=seed, length=length)
    loaded = load(
        data, protocol, path=path, fields=column_mapping(column or []), time_unit=_unit(time_unit)
    )
    print(
        f"{data}: " + ", ".join(f"{name} {count:,}" for name, count in loaded.counts().items()),
        flush=True,
    )
    study = Study(dataset_name(data, protocol), loaded, protocol, settings)
    for name in chosen(model, study, out):
        rows.add(run(name, study), out)


def load(
    data: str,
    protocol: CtrProtocol,
    *,
    path: str | None,
    fields: dict[str, str],
    time_unit: TimeUnit,
) -> Impressions:
    """The impressions of a data set by name."""
    log = datasets.load(data, path=path, fields=fields or None, time_unit=time_unit)
    known = genres(data)
    return impressions(
        log, protocol, gap_buckets=SHAPE.gap_buckets, hashed=SHAPE.hashed_items, categories=known
    )


def chosen(model: str, study: Study, out: Path) -> Sequence[str]:
    """The models to train: the one that is named, or all that can be and have no row yet."""
    without = set() if study.data.categories.any() else NEEDS_CATEGORIES
    if model in without:
        raise typer.BadParameter(
            f"{model} searches by category, and {study.dataset} names none; take another model"
        )
    if model != "all":
        return [model]
    key = ("ctr", study.dataset, study.settings.seed)
    done = {
        row["model"]
        for row in rows.read(out)
        if (row["task"], row["dataset"], row["seed"]) == key and row["recipe"] == study.recipe()
    }
    for name in METHODS:
        if name in done:
            print(f"{name}: there already")
        elif name in without:
            print(f"{name}: left out, the data set names no categories")
    return [name for name in METHODS if name not in done | without]


def run(name: str, study: Study) -> Row:
    """One model's row."""
    dataset, data, _, settings = study
    fitted = train(
        lambda: method(name, settings.length),
        data,
        settings,
        lambda epoch: _say(name, epoch),
        counted=name in COUNTED,
    )
    figures, intervals = evaluate(fitted, data, settings)
    interest = fitted.model.interest
    print(
        f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in figures.items()), flush=True
    )
    return rows.row(
        "ctr",
        dataset,
        name,
        settings.seed,
        figures,
        train_minutes=fitted.seconds / 60,
        state_bytes=interest.state_bytes(),
        multiply_adds=interest.multiply_adds(settings.length),
        intervals={key: [round(end, 5) for end in ends] for key, ends in intervals.items()},
        best_epoch=fitted.best.epoch + 1,
        counts=data.counts(),
        recipe=study.recipe(),
    )


def _unit(name: str) -> TimeUnit:
    for unit in get_args(TimeUnit):
        if unit == name:
            known: TimeUnit = unit
            return known
    raise typer.BadParameter(
        f"--time-unit {name}: it must be one of {', '.join(get_args(TimeUnit))}"
    )


def _say(name: str, epoch: CtrEpoch) -> None:
    print(
        f"{name}: epoch {epoch.epoch + 1}, loss {epoch.loss:.4f}, validation AUC {epoch.auc:.4f}, "
        f"{epoch.seconds:.0f} s",
        flush=True,
    )
