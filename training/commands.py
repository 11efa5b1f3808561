"""What `echorank train` and `echorank publish` do, with a word to the person who waits."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from model.config import ModelConfig
from model.levels import Level, best_of
from model.order import Order, order_of
from training import outputs, overview
from training.data import datasets
from training.data.clicklog import ClickLog
from training.data.remarks import Say
from training.data.time_column import TimeUnit
from training.errors import DatasetError, TrainingError
from training.fit.checkpoint import MODEL, Checkpoint
from training.fit.distill import StreamingTeacher
from training.fit.keeper import FileKeeper
from training.fit.train import TrainConfig
from training.publish import Published, publish
from training.recipe.choice import choose
from training.recipe.look import Look, look
from training.recipe.recent import said
from training.recipe.settings import read_settings, tell_recipe
from training.runs import (
    Parts,
    Run,
    by_sessions,
    by_time,
    leave_one_out,
    train_by_sessions,
    train_by_time,
    train_leave_one_out,
)

if TYPE_CHECKING:
    from training.tune import Trial

TITLES = {Order.NEXT_ITEM: "the next-item logit", Order.CLICK: "the click head"}
TITLES_OF_LISTS = {
    "lists": "Recommend's lists",
    "uniform": "uniform candidates",
    "popular": "popular candidates",
}
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
    settings_file: Path | None = None,
    workers: int = 1,
    teachers: Sequence[Path] = (),
    resume: bool = False,
    anew: bool = False,
    hold_out: bool = False,
    console: Console | None = None,
) -> Run:
    """Train on a data set by name, print how it compares to popularity,
    and save the model to `out`.

    While it goes on the training is kept in `out`: with `resume` one that was stopped goes on, with
    `anew` it is dropped. `minutes` count from now on, in all starts together. Named sets are split
    as published comparisons do, leave-one-out or by sessions; a log of your own (`file`,
    `archive`) by time, as it will be used; unless `hold_out`, it is then trained once more on the
    whole of it.

    Raises:
        DatasetError: the data, or a teacher, cannot be had or read.
        TrainingError: a teacher knows another catalogue, `out` cannot be written or resumed, or the
            training diverged or was stopped.
        ValueError: a setting is out of range.
    """
    console = console or Console()
    begun = time.monotonic()
    changes, given = read_settings(settings_file)
    outputs.check_folder(out)
    keeper = keeper_of(out, workers, resume=resume, anew=anew, console=console)
    if (out / MODEL).exists():
        console.print(f"{out} holds a model already; it is replaced when the new one is complete")
    log = read_log(
        data_set, path=path, cache=cache, fields=fields, time_unit=time_unit, console=console
    )
    whole = data_set in datasets.OWN_LOGS and not hold_out
    recipe = choose(looked_at(log, console), refit=whole)
    tell_recipe(recipe, {**changes, **given}, console)
    console.print(phases(data_set, whole=whole), markup=False, soft_wrap=True)
    settings = TrainConfig(
        **{**recipe.training, **given, "seed": seed, "device": device},
    )
    if minutes is not None:
        settings = dataclasses.replace(settings, minutes_max=minutes)
    run = training_of(data_set, whole=whole)(
        log,
        data_set=data_set,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        shape=recipe.shaped(changes),
        settings=settings,
        workers=workers,
        teachers=[StreamingTeacher.load(teacher) for teacher in teachers],
        keeper=keeper,
        begun=begun,
    )
    run.checkpoint.save(out)
    if keeper is not None:
        keeper.forget()
    _tell(run, out, console)
    return run


def tune_model(
    data_set: str,
    *,
    out: Path,
    minutes: float,
    samples: int,
    path: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    shapes: bool = False,
    resume: bool = False,
    fields: dict[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    cache: Path | None = None,
    console: Console | None = None,
) -> list[Trial]:
    """Search settings for a data set, print the trials, and leave the best in `out`/settings.json.

    Raises:
        DatasetError: the data cannot be had or read.
        TrainingError: there is nothing to resume, or no trial got through an epoch.
    """
    from training.tune import BEST, search  # noqa: PLC0415 - a training alone needs no Ray

    console = console or Console()
    outputs.check_folder(out)
    log = read_log(
        data_set, path=path, cache=cache, fields=fields, time_unit=time_unit, console=console
    )
    recipe = choose(looked_at(log, console))
    tell_recipe(recipe, {}, console)
    parts = parts_of(data_set, log, recipe.shaped())
    base = TrainConfig(**recipe.training, seed=seed, device=device)
    trials = search(
        parts,
        out,
        minutes=minutes,
        samples=samples,
        shapes=shapes,
        resume=resume,
        base=base,
        console=console,
    )
    table = Table(title="trials, best first")
    for name in ("NDCG@10", "epochs", "seconds", *trials[0].chosen):
        table.add_column(name.replace("_", " "), justify="right", overflow="fold")
    for trial in trials:
        chosen = (f"{value:.4g}" for value in trial.chosen.values())
        table.add_row(f"{trial.ndcg10:.4f}", str(trial.epochs), f"{trial.seconds:.0f}", *chosen)
    console.print(table)
    console.print(
        f"best settings in {out / BEST}; next: echorank train {data_set} --settings {out / BEST}"
    )
    return trials


def training_of(data_set: str, *, whole: bool = False) -> Callable[..., Run]:
    """The training that divides a data set by its protocol; of a log of your own, maybe followed
    by one of the `whole` log.
    """
    sessions = datasets.tested_sessions(data_set)
    if sessions is not None:
        return partial(train_by_sessions, tested=sessions)
    if data_set in datasets.OWN_LOGS:
        return partial(train_by_time, whole=whole)
    return train_leave_one_out


def phases(data_set: str, *, whole: bool) -> str:
    """What is held out, and whether that is learned from in the end, as a sentence."""
    if whole:
        return (
            "The newest tenth chooses the number of epochs and tests the model, which is then "
            "trained once more on the whole log; --hold-out leaves that out"
        )
    if data_set in datasets.OWN_LOGS:
        return (
            "The newest tenth is held out: the model never learns from it, and echorank evaluate "
            "can ask about it"
        )
    return "The clicks that test the model are held out, as published figures have it"


def parts_of(data_set: str, log: ClickLog, shape: ModelConfig | None = None) -> Parts:
    """The parts into which that training divides the log, for a model of that shape.

    Raises:
        DatasetError: a part would be empty.
    """
    sessions = datasets.tested_sessions(data_set)
    if sessions is not None:
        return by_sessions(log, sessions, shape)
    split = by_time if data_set in datasets.OWN_LOGS else leave_one_out
    return split(log, shape)


def keeper_of(
    out: Path, workers: int, *, resume: bool, anew: bool, console: Console
) -> FileKeeper | None:
    """Where the training is kept; several workers keep nothing until they are done.

    Raises:
        TrainingError: there is nothing to resume, or something that would be overwritten.
    """
    if workers > 1:
        if resume:
            raise TrainingError("--resume goes on with one worker only; leave --workers out")
        return None
    return FileKeeper(out, resume=resume, anew=anew, say=noting(console))


def noting(console: Console) -> Say:
    """Says a remark on the console."""
    return lambda sentence: console.print(f"note: {sentence}", markup=False, soft_wrap=True)


def read_log(
    data_set: str,
    *,
    path: Path | str | None,
    cache: Path | None,
    fields: dict[str, str] | None,
    time_unit: TimeUnit,
    console: Console,
) -> ClickLog:
    """The log, and a word on what it holds, so that a wrong column or unit is seen before the work.

    Raises:
        DatasetError: the data cannot be had or read.
    """
    say = noting(console)
    log = datasets.load(
        data_set, path=path, cache=cache, fields=fields, time_unit=time_unit, say=say
    )
    users, items, events = log.counts()
    console.print(
        f"{data_set}: {users:,} users, {items:,} items, {events:,} events",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"{overview.time_span(log)}; {overview.actions(log)}", markup=False, soft_wrap=True
    )
    return log


def looked_at(log: ClickLog, console: Console) -> Look:
    """How the log looks, and a line for each part of it."""
    seen = look(log)
    for sentence in seen.describe():
        console.print(f"- {sentence}.", markup=False, soft_wrap=True)
    return seen


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
        TrainingError: `out` holds other files, or cannot be written.
    """
    outputs.check_bundle(out)
    published = publish(Checkpoint.load(model), out)
    console = console or Console()
    console.print(f"bundle {published.version} in {out}, golden scores verified")
    console.print(sorted_by(published.recommend))
    console.print(answered_at(published.levels))
    console.print(said(published.metadata))
    if published.serves is not None:
        console.print(
            f"[yellow]warning: a running system serves version {published.serves} from {out}. It "
            "goes on with that, of which a copy is kept, until the whole system is restarted; "
            "publish each model to a directory of its own, and name that in arms[].bundle[/yellow]"
        )
    return published


def sorted_by(record: Mapping[str, Any]) -> str:
    """By what `Recommend` will sort, and why, as a sentence."""
    order = order_of(record)
    if "measured" not in record:
        return (
            f"Recommend sorts by {TITLES[order]}: no held-out clicks were at hand to measure "
            "another order"
        )
    said = [f"{TITLES[each]} {record['measured'][each.value]['ndcg10']:.4f}" for each in Order]
    return (
        f"Recommend sorts by {TITLES[order]}; NDCG@10 on {record['clicks']:,} held-out clicks: "
        f"{', '.join(said)}"
    )


def answered_at(record: Mapping[str, Any]) -> str:
    """At which level `Score` will answer at most, and why, as a sentence."""
    best = best_of(record)
    if "measured" not in record:
        return f"Score answers at level {best.name}: no held-out clicks were at hand to compare"
    said = [
        f"{TITLES_OF_LISTS.get(kind, kind)} "
        f"{figures['ndcg10'][Level.FULL.name]:.4f} / {figures['ndcg10'][Level.SEQUENCE.name]:.4f}"
        for kind, figures in record["measured"].items()
    ]
    why = (
        "the full model is better somewhere and worse nowhere"
        if best is Level.FULL
        else "the full model's head does not help and is not used"
    )
    return (
        f"Score answers at level {best.name}: {why}; NDCG@10 of held-out clicks, FULL / SEQUENCE: "
        f"{', '.join(said)}"
    )


def comparison(run: Run) -> Table:
    """The model beside popularity and the better of two simple methods, plain and with seen items
    excluded, with bootstrap intervals below the figures.
    """
    table = Table(
        title=(
            f"{run.test['events']:,.0f} held-out events, as recommended from "
            f"{len(run.checkpoint.items):,} items"
        ),
        caption="below: 95 % bootstrap intervals; more simple methods: echorank evaluate",
    )
    table.add_column("")
    for name in SHOWN:
        table.add_column(name, justify="right")
    for label, found in run.compared():
        table.add_row(label, *(_with_interval(found, name) for name in SHOWN))
    return table


def as_session_papers(run: Run) -> str:
    """P@20 and MRR@20, as a sentence."""
    shown = (f"{name} {found['hr20']:.4f} / {found['mrr20']:.4f}" for name, found in run.compared())
    return f"as papers on sessions have it, P@20 / MRR@20: {', '.join(shown)}"


def _tell(run: Run, out: Path, console: Console) -> None:
    console.print(comparison(run))
    if datasets.tested_sessions(run.checkpoint.metadata["data_set"]) is not None:
        console.print(as_session_papers(run))
    if measured_on := run.checkpoint.metadata.get("measured_on"):
        console.print(f"measured on {measured_on}; what is saved has learned from all of it")
    console.print(sorted_by(run.checkpoint.recommend))
    console.print(answered_at(run.checkpoint.levels))
    console.print(said(run.checkpoint.metadata))
    console.print(
        f"best epoch {run.model.best.epoch + 1} of {len(run.model.history)}, "
        f"{run.model.seconds:.0f} s; saved to {out}; next: echorank publish {out}"
    )


def _with_interval(found: dict[str, float], name: str) -> str:
    shown = f"{found[name]:.4f}"
    return (
        f"{shown}\n{found[f'{name}_low']:.3f}-{found[f'{name}_high']:.3f}"
        if f"{name}_low" in found
        else shown
    )
