"""Whole trainings, from a click log to a bundle: what the command line and the demo call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from model.config import ModelConfig
from training import datasets
from training.allocation import keep_freed_memory
from training.clicklog import ClickLog, DatasetError
from training.columns import TimeUnit
from training.evaluate import NetworkRanker, rank
from training.popularity import Popularity
from training.publish import Published, publish
from training.sequences import Held, Histories, Vocabulary
from training.train import TrainConfig, TrainedModel, train

THREADS = 2
ITEM_EVENTS_MIN = 5  # of RecBole's protocol, for leave-one-out


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training that ended in a bundle, and what the held-out events say about it."""

    model: TrainedModel
    published: Published
    test: dict[str, float]  # ranking metrics
    popularity: dict[str, float]  # the same of the baseline


@dataclass(frozen=True, kw_only=True)
class SplitRun(Run):
    """A training on the early part of a log, with the rest left to be streamed."""

    earlier: ClickLog  # in time order: training and validation
    remaining: ClickLog  # in time order: unseen by the training


def main_train(
    *,
    data_set: str = "ml-100k",
    path: Path | None = None,
    fields: dict[str, str] | None = None,
    time_unit: TimeUnit = "ms",
    cache: Path | None = None,
    out: Path = Path("out/bundle"),
    split: Literal["leave-one-out", "time"] = "leave-one-out",
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    date: str,
    show_progress: bool = True,
) -> Run:
    """Load a data set by name (see `training.datasets`), train, evaluate and publish to `out`.

    Raises:
        DatasetError: the data cannot be had, or cannot be split this way.
        ValueError: a setting is out of range.

    """
    log = datasets.load(data_set, path=path, cache=cache, fields=fields, time_unit=time_unit)
    entry = datasets.DATASETS.get(data_set)
    if split == "time":
        if entry is not None and not entry.global_time:
            raise DatasetError(f"{data_set} has no global clock: its users' times do not compare; split leave-one-out")
        return train_split(
            log, out=out, data_set=data_set, shape=shape, settings=settings, date=date, show_progress=show_progress
        )
    return train_leave_one_out(
        log, out=out, data_set=data_set, shape=shape, settings=settings, date=date, show_progress=show_progress
    )


def train_leave_one_out(
    log: ClickLog,
    *,
    out: Path,
    data_set: str,
    date: str,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
) -> Run:
    """Train on all but each user's last two events; choose by the last but one, test on the last."""
    prepare_process()
    shape, settings = shape or ModelConfig(), settings or TrainConfig()
    log = log.with_frequent_items(ITEM_EVENTS_MIN)
    vocabulary = Vocabulary.of(log, hashed=shape.hashed_items)
    everything = Histories.of(log, vocabulary)
    training = everything.without_last(2)
    held = Held.last(everything.without_last(1))
    model = train(shape, settings, vocabulary, training, held, show_progress=show_progress)
    published = publish(model, training, held, out, data_set=data_set, date=date)
    test = Held.last(everything)
    items = len(vocabulary.items)
    return Run(
        model=model,
        published=published,
        test=rank(NetworkRanker(model.network), test, items).summary(),
        popularity=rank(Popularity(training.counts(items)), test, items).summary(),
    )


def train_split(
    log: ClickLog,
    *,
    out: Path,
    data_set: str,
    date: str,
    fraction: float = 0.8,
    validation: float = 0.1,
    events_min: int = 1,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
) -> SplitRun:
    """Train on the earliest `fraction` of the time line and leave the rest, unseen, in time order.

    The last `validation` share of the early part chooses the epoch and fits the calibration; it is not trained on.
    Items with fewer than `events_min` events in the early part share hashed rows.

    Raises:
        DatasetError: the log is too short to be split.

    """
    if not 0 < fraction <= 1 or not 0 < validation < 1:
        raise ValueError(f"fraction = {fraction} must be in (0, 1] and validation = {validation} in (0, 1)")
    prepare_process()
    shape, settings = shape or ModelConfig(), settings or TrainConfig()
    ordered = log.by_time()
    cut = int(len(ordered) * fraction)
    earlier, remaining = ordered.rows(0, cut), ordered.rows(cut, len(ordered))
    late = int(cut * (1 - validation))
    if not 0 < late < cut:
        raise DatasetError(f"a log of {len(log)} events is too short for a split at {fraction}; bring more events")
    vocabulary = Vocabulary.of(earlier, hashed=shape.hashed_items, events_min=events_min)
    since_ms = int(earlier.times_ms[late])
    training = Histories.of(earlier.take(earlier.times_ms < since_ms), vocabulary)
    held = Held.since(Histories.of(earlier, vocabulary), since_ms)
    model = train(shape, settings, vocabulary, training, held, show_progress=show_progress)
    published = publish(model, training, held, out, data_set=data_set, date=date)
    items = len(vocabulary.items)
    return SplitRun(
        model=model,
        published=published,
        test=published.metrics,
        popularity=rank(Popularity(training.counts(items)), held, items).summary(),
        earlier=earlier,
        remaining=remaining,
    )


def prepare_process() -> None:
    """Settings of the whole process that make a training faster; results do not depend on them beyond rounding."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
