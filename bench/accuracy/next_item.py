"""Train one model on one data set and put what the test items say about it
into the table of accuracy results.

Protocol: that of the data set (`training/data/protocols.py`): each user's last event, or every one
after a session's first; the whole catalogue competes. The streaming model gives a row `echorank` of
task `next-item`, the network in float32 reading whole histories, and rows `echorank-int8` of the
tasks `recommend` and `score`, which ask what the API answers (`bench.accuracy.served`). Minutes are
of one thread, validation included.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from bench import report
from bench.accuracy import rows
from bench.accuracy.baselines.next_item.baseline import Reference, ReferenceRanker, ReferenceTask
from bench.accuracy.baselines.next_item.echomamba4rec import EchoMamba4Rec
from bench.accuracy.baselines.next_item.gru4rec import GRU4Rec
from bench.accuracy.baselines.next_item.mamba import Start
from bench.accuracy.baselines.next_item.mamba4rec import Mamba4Rec
from bench.accuracy.baselines.next_item.popularity import Popularity
from bench.accuracy.baselines.next_item.sasrec import SASRec
from bench.accuracy.recipes import REFERENCES, recipe_of
from bench.accuracy.served import LISTED, Found, as_served, pairs, recommended
from bench.accuracy.split import Split
from bench.accuracy.variants import Variant
from model.config import ModelConfig
from model.network.network import Network
from model.state import layout
from training.data import datasets
from training.fit.allocation import prepare_process
from training.fit.distill import StreamingTeacher, Teacher
from training.fit.harness import FitConfig, Fitted, Line, fit, pick_device
from training.fit.train import TrainConfig, train
from training.measure.evaluate import NetworkRanker, rank
from training.measure.ranking import Ranking
from training.measure.shelves import Shelf
from training.publish import assess, shipped
from training.recipe.look import look
from training.rules.methods import METHODS
from training.rules.rule import rank_by

WIDTH = 64  # of the references' item table, unless set


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row's content."""

    model: str
    found: Found
    minutes: float
    state_bytes: int | None
    more: Mapping[str, object]
    label: str = ""  # what stands behind the data set's name


def measure(
    data: str,
    model: str,
    *,
    path: Path | None = None,
    membership: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    changes: Sequence[str] = (),
    table: Path = rows.PATH,
    out: Path | None = None,
    teachers: Sequence[Path] = (),
    protocol: str | None = None,
) -> list[dict[str, Any]]:
    """Train, evaluate, add the rows to `table` and return them; one printed line an epoch.

    `changes` are settings as NAME=VALUE; where there are any, the row says so. The streaming model
    is left in `out` for the studies that take a trained one; `teachers` are such directories.
    `protocol` is another than the data set's own: `time`.

    Raises:
        DatasetError: the data cannot be had, or not be divided so.
        ValueError: unknown model or setting, or a value out of range.
        UncommittedChanges: `table` is a committed one, and the tree is not as committed.
    """
    changed = parse(changes)
    recipe_of(data, model)  # says whether the model is known before the log is read
    if membership and model not in REFERENCES:
        raise ValueError(f"--membership is for the references; {model} is what it is")
    if changed and model in METHODS:
        raise ValueError(f"--set is for models that are trained; {model} is what it is")
    report.refuse_changes(table)
    prepare_process()
    log = datasets.load(data, path=path)
    recipe = recipe_of(data, model, look(log))
    settings = {**recipe, "seed": seed, "minutes_max": minutes, **changed}
    split = Split.by(data, log, protocol)
    print(
        f"{data}: {len(split.training.users):,} users, {split.items:,} items, {model}, {settings}",
        flush=True,
    )
    if model == "echorank":
        loaded = [StreamingTeacher.load(teacher) for teacher in teachers]
        results = list(streaming(split, settings, data=data, out=out, teachers=loaded))
    elif model == "popularity":
        results = list(popularity(split))
    elif model in METHODS:
        results = list(simple(split, model))
    else:
        results = list(reference(split, model, settings, membership=membership))
    added = []
    for result in results:
        more = {**result.found.more, **result.more}
        if changed:
            more["changed"] = changed
        if teachers:
            more["teachers"] = len(teachers)
        added.append(
            rows.row(
                result.found.task,
                data + result.label,
                result.model,
                seed,
                {name: result.found.figures[name] for name in rows.FIGURES[result.found.task]},
                train_minutes=result.minutes,
                state_bytes=result.state_bytes,
                **more,
            )
        )
        rows.add(added[-1], table)
    return added


def streaming(
    split: Split,
    values: Mapping[str, Any],
    *,
    data: str = "",
    out: Path | None = None,
    teachers: Sequence[Teacher] = (),
    variant: Variant | None = None,
    shelves: Sequence[Shelf] = tuple(Shelf),
) -> Iterator[Result]:
    """The product: as trained, then as shipped, and left in `out` as `echorank train` would.

    A variant's network of another type ends with the first.
    """
    shape, settings = configured(values, ModelConfig, TrainConfig)
    variant = variant or Variant()
    began = time.process_time()
    model = train(
        shape,
        settings,
        split.vocabulary,
        split.training,
        split.validation,
        show_progress=False,
        on_epoch=say,
        teachers=teachers,
        network_type=variant.network,
        task_type=variant.task,
    )
    minutes = (time.process_time() - began) / 60
    more: dict[str, object] = {"epochs": len(model.history), "best_epoch": model.best.epoch + 1}
    more["loss"] = round(model.best.next_item, 6)
    for label, held in split.asked():
        yield Result(
            model="echorank",
            found=by_network(rank(NetworkRanker(model.network), held, split.items)),
            minutes=minutes,
            state_bytes=None,
            more=more,
            label=label,
        )
    if variant.network is not Network:
        return
    date = datetime.now(UTC).date().isoformat()
    checkpoint = assess(
        model,
        split.training,
        split.validation,
        data_set=data,
        date=date,
        trained_until_ms=split.until_ms,
    )
    if out is not None:
        checkpoint.save(out)
    bundle = shipped(checkpoint)
    for label, held in split.asked():
        for found in as_served(bundle, held, shelves, settings.seed):
            yield Result(
                model=f"echorank-{shape.state_dtype}",
                found=found,
                minutes=minutes,
                state_bytes=layout(shape).row_bytes,
                more=more,
                label=label,
            )


def by_network(ranking: Ranking) -> Found:
    """The row of whole histories that were ranked so."""
    longer = ranking.summary(LISTED)
    more: dict[str, Any] = {name: round(longer[name], 5) for name in rows.SESSIONS}
    more |= {"questions": len(ranking.plain), "intervals": pairs(ranking)}
    return Found(task="next-item", figures=ranking.summary(), more=more)


def reference(
    split: Split, name: str, values: Mapping[str, Any], *, membership: bool
) -> Iterator[Result]:
    """One of the papers' models, read anew from the newest events at each question."""
    began = time.process_time()
    model, fitted = fit_reference(split, name, values, membership=membership)
    minutes = (time.process_time() - began) / 60
    ranker = ReferenceRanker(model)
    for label, held in split.asked():
        yield Result(
            model=name + ("+membership" if membership else ""),
            found=by_network(rank(ranker, held, split.items, context=values["length"])),
            minutes=minutes,
            state_bytes=None,
            more={"epochs": len(fitted.history), "best_epoch": fitted.best.epoch + 1},
            label=label,
        )


def fit_reference(
    split: Split, name: str, values: Mapping[str, Any], *, membership: bool
) -> tuple[Reference, Fitted]:
    """The reference called `name`, trained."""
    values = dict(values)
    width = values.pop("width", WIDTH)
    prefixes = values.pop("prefixes", 0)
    (settings,) = configured(values, FitConfig)
    torch.manual_seed(settings.seed)
    model = Reference(
        encoder_of(name, width, settings), split.vocabulary, width, membership=membership
    )
    model.start_from(split.training, settings.seed)
    model.to(pick_device(settings.device))
    task = ReferenceTask(model, settings, split.training, split.validation, prefixes=prefixes)
    random = np.random.default_rng(settings.seed)
    return model, fit(model, task, settings, random, show_progress=False, on_epoch=say)


def encoder_of(name: str, width: int, settings: FitConfig) -> torch.nn.Module:
    """The reference called `name`, with its published sizes."""
    if name == "sasrec":
        return SASRec(width, settings.length, settings.dropout)
    if name == "gru4rec":
        return GRU4Rec(width, settings.dropout)
    if name == "mamba4rec":
        return Mamba4Rec(width, settings.dropout)
    start: Start = "published" if name.endswith("published-init") else "mamba"
    return EchoMamba4Rec(width, settings.length, settings.dropout, start=start)


def popularity(split: Split) -> Iterator[Result]:
    """The most frequent items for everybody."""
    ranker = Popularity(split.training.counts(split.items))
    for label, held in split.asked():
        yield Result(
            model="popularity",
            found=by_network(rank(ranker, held, split.items)),
            minutes=0.0,
            state_bytes=0,
            more={},
            label=label,
        )


def simple(split: Split, name: str) -> Iterator[Result]:
    """A method that learns by counting, from all that is known before the test, as a model and as
    what is served: its lists of 20 are those of both.
    """
    began = time.process_time()
    rule = METHODS[name](split.known(), split.items)
    minutes = (time.process_time() - began) / 60
    for label, held in split.asked():
        targets = held.targets(split.items)
        with Progress(transient=True) as progress:
            task = progress.add_task(name, total=len(targets))
            ranking = rank_by(rule, held.histories, targets, partial(progress.advance, task))
        for found in (by_network(ranking), recommended(ranking)):
            yield Result(
                model=name, found=found, minutes=minutes, state_bytes=None, more={}, label=label
            )


def say(line: Line) -> None:
    """One line an epoch, for logs of long runs."""
    losses = " ".join(f"{loss:.4f}" for loss in line.losses)
    found = f"NDCG@10 {line.metrics['ndcg10']:.4f}  HR@10 {line.metrics['hr10']:.4f}"
    print(
        f"epoch {line.epoch + 1:3}  loss {losses}  validation {found}  {line.seconds / 60:.1f} min",
        flush=True,
    )


def parse(changes: Sequence[str]) -> dict[str, Any]:
    """`["width=32", "echo=true"]` as {name: value}; values are JSON, else text.

    Raises:
        ValueError: a change has no `=`.
    """
    if wrong := [change for change in changes if "=" not in change]:
        raise ValueError(f"--set {wrong}: write each as NAME=VALUE, such as width=32")
    return {name: _value(text) for name, text in (change.split("=", 1) for change in changes)}


def configured(values: Mapping[str, Any], *kinds: type) -> tuple[Any, ...]:
    """One configuration of each kind, from the values that it knows.

    Raises:
        ValueError: none of them knows a value.
    """
    known = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]
    if unknown := sorted(set(values).difference(*known)):
        raise ValueError(f"unknown settings {unknown}; known are {sorted(set().union(*known))}")
    return tuple(
        kind(**{name: value for name, value in values.items() if name in names})
        for kind, names in zip(kinds, known, strict=True)
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
