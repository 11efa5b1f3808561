"""Whole trainings, from a click log to a trained model or a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.config import ModelConfig
from model.network.network import Network
from training.data import protocols
from training.data.clicklog import ClickLog
from training.data.sequences import Held, Histories, Vocabulary
from training.errors import DatasetError
from training.finishing import Finishing
from training.fit.allocation import prepare_process
from training.fit.checkpoint import Checkpoint
from training.fit.distill import Teacher
from training.fit.keeper import FileKeeper
from training.fit.train import TrainConfig, TrainedModel, train
from training.measure.ranking import Ranking
from training.measure.served import rank_targets
from training.overview import moment
from training.publish import Published, assess, publish, shipped
from training.recipe.choice import choose
from training.recipe.look import look
from training.refit import SHARE, refit, refitted
from training.rules.methods import best_cheap
from training.rules.popular import popular
from training.rules.rule import rank_by

LISTED = 20  # items of the lists that the test asks for
EVENTS_TO_LEARN = 2  # of one user: what comes after what
# for a split log that somebody waits for
QUICK = TrainConfig(epochs=6, minutes_max=0.9, smoothing=0.1, transitions=3.0)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a training needs: `held` chooses the epoch, `test` judges the result."""

    shape: ModelConfig
    vocabulary: Vocabulary
    training: Histories
    held: Held
    test: Held
    # the newest event that is known before the test, where all of the test is later
    until_ms: int | None = None

    def checked(self, held_out: str) -> Parts:
        """The same, if there is something to learn from and to ask about;
        `held_out` says what was held out.

        Raises:
            DatasetError: nothing is left to learn from, or nothing could be asked after the
                training.
        """
        if not len(self.training.items):
            raise DatasetError(
                f"{held_out} are held out and no click comes before them, so nothing is left to "
                "learn from; are the times right? If so, bring a longer log"
            )
        if self.training.lengths().max() < EVENTS_TO_LEARN:
            raise DatasetError(
                f"{held_out} are held out, and among the {len(self.training.items):,} clicks "
                "before no user has two events, so there is nothing to learn from; are users and "
                "times right? If so, bring a longer log"
            )
        for held in (self.held, self.test):
            if not len(held.targets(len(self.vocabulary.items))):
                raise DatasetError(
                    f"{held_out} are held out, but none of them has an earlier click of its user, "
                    "so nothing could be asked after the training; bring a longer log, in which "
                    "users come back"
                )
        return self


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training, and what events that it never learned from say about it."""

    model: TrainedModel
    checkpoint: Checkpoint
    # of the lists that the API gives on at most ASKED_MAX clicks, with intervals
    test: dict[str, float]
    popularity: dict[str, float]  # the same clicks by the most frequent items
    simple_name: str  # the better of the simple methods that take seconds
    simple: dict[str, float]

    def compared(self) -> tuple[tuple[str, dict[str, float]], ...]:
        """The figures of the model and of what it is held against, by name."""
        return (
            ("this model", self.test),
            ("popularity", self.popularity),
            (self.simple_name, self.simple),
        )


@dataclass(frozen=True, kw_only=True)
class SplitRun:
    """A bundle from the early part of a log, and the rest, left to be streamed."""

    run: Run
    published: Published
    earlier: ClickLog  # in time order: training and validation
    remaining: ClickLog  # in time order: unseen by the training


def train_leave_one_out(
    log: ClickLog,
    *,
    data_set: str,
    date: str,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
    workers: int = 1,
    teachers: Sequence[Teacher] = (),
    keeper: FileKeeper | None = None,
    begun: float | None = None,
) -> Run:
    """Train on all but each user's last two events; choose by the last but one, test on the last.

    Shape and settings are those of the log's recipe, unless given.

    Raises:
        TrainingError: a teacher knows another catalogue, or the training diverged or was stopped.
    """
    prepare_process()
    parts = leave_one_out(log, shape)
    settings = settings or TrainConfig(**choose(look(log)).training)
    model, asked_max, _ = _train(
        parts, settings, workers, teachers, keeper, begun, show_progress=show_progress
    )
    return _finish(model, asked_max, parts, data_set, date)


def leave_one_out(log: ClickLog, shape: ModelConfig | None = None) -> Parts:
    """Each user's last event as the test, the one before as the validation, the rest to learn from.

    Raises:
        DatasetError: a part would be empty.
    """
    shape = shape or choose(look(log)).shaped()
    division = protocols.leave_one_out(log, hashed=shape.hashed_items)
    return Parts(shape=shape, **division._asdict()).checked("each user's last two clicks")


def train_by_sessions(
    log: ClickLog,
    *,
    tested: int,
    data_set: str,
    date: str,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
    workers: int = 1,
    teachers: Sequence[Teacher] = (),
    keeper: FileKeeper | None = None,
    begun: float | None = None,
) -> Run:
    """Train on all but the newest `tested` sessions, which are the test; a twentieth of the others
    chooses the epoch. Shape and settings are those of the log's recipe, unless given.

    Raises:
        DatasetError: the log has too few sessions.
        TrainingError: a teacher knows another catalogue, or the training diverged or was stopped.
    """
    prepare_process()
    parts = by_sessions(log, tested, shape)
    settings = settings or TrainConfig(**choose(look(log)).training)
    model, asked_max, _ = _train(
        parts, settings, workers, teachers, keeper, begun, show_progress=show_progress
    )
    return _finish(model, asked_max, parts, data_set, date)


def by_sessions(log: ClickLog, tested: int, shape: ModelConfig | None = None) -> Parts:
    """The newest `tested` users as the test, a twentieth of the others as the validation.

    Raises:
        DatasetError: a part would be empty.
    """
    shape = shape or choose(look(log)).shaped()
    division = protocols.by_sessions(log, hashed=shape.hashed_items, tested=tested)
    parts = Parts(shape=shape, **division._asdict())
    return parts.checked(f"the newest {tested:,} sessions")


def train_by_time(
    log: ClickLog,
    *,
    data_set: str,
    date: str,
    validation: float = 0.1,
    events_min: int = 1,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
    workers: int = 1,
    teachers: Sequence[Teacher] = (),
    keeper: FileKeeper | None = None,
    begun: float | None = None,
    whole: bool = False,
) -> Run:
    """Train on all but the last `validation` share of the time line,
    which chooses the epoch and is the test.

    `whole` trains once more, for as many epochs, on the whole log: those weights are the
    checkpoint's, and what is said of them was measured on the model before (`training.refit`).
    Items with fewer than `events_min` events share hashed rows. Shape and settings are those of the
    log's recipe, unless given.

    Raises:
        DatasetError: the log is too short to be split.
        TrainingError: a teacher knows another catalogue, or the training diverged or was stopped.
    """
    prepare_process()
    parts = by_time(log, shape, validation=validation, events_min=events_min)
    settings = settings or TrainConfig(**choose(look(log)).training)
    model, asked_max, network = _train(
        parts, settings, workers, teachers, keeper, begun, show_progress=show_progress, whole=whole
    )
    run = _finish(model, asked_max, parts, data_set, date)
    if network is None:
        return run
    checkpoint = refitted(run.checkpoint, network, parts.held.histories)
    return dataclasses.replace(run, checkpoint=checkpoint)


def by_time(
    log: ClickLog, shape: ModelConfig | None = None, *, validation: float = 0.1, events_min: int = 1
) -> Parts:
    """The last `validation` share of the time line as validation and test, the rest to learn from.

    Raises:
        DatasetError: the log is too short to be split, or a part would be empty.
    """
    if not 0 < validation < 1:
        raise ValueError(f"validation = {validation} must be between 0 and 1")
    shape = shape or choose(look(log)).shaped()
    log = log.by_time()
    since = int(len(log) * (1 - validation))
    if not 0 < since < len(log):
        raise DatasetError(
            f"a log of {len(log)} events is too short to hold out {validation:.0%}; bring more "
            "events"
        )
    since_ms = int(log.times_ms[since])
    vocabulary = Vocabulary.of(log, hashed=shape.hashed_items, events_min=events_min)
    training = Histories.of(log.take(log.times_ms < since_ms), vocabulary)
    held = Held.since(Histories.of(log, vocabulary), since_ms)
    parts = Parts(
        shape=shape,
        vocabulary=vocabulary,
        training=training,
        held=held,
        test=held,
        until_ms=int(training.times_ms.max(initial=0)),
    )
    return parts.checked(
        f"the newest {validation:.0%} of {len(log):,} clicks, from {moment(since_ms)} on,"
    )


def train_split(
    log: ClickLog,
    *,
    out: Path,
    data_set: str,
    date: str,
    fraction: float = 0.8,
    shape: ModelConfig | None = None,
    settings: TrainConfig | None = None,
    show_progress: bool = True,
) -> SplitRun:
    """Publish a bundle trained on the earliest `fraction` of the log to
    `out`, and leave the rest unseen.

    Raises:
        DatasetError: the log is too short to be split.
    """
    ordered = log.by_time()
    cut = int(len(ordered) * fraction)
    earlier = ordered.rows(0, cut)
    run = train_by_time(
        earlier,
        data_set=data_set,
        date=date,
        shape=shape,
        settings=settings or QUICK,
        show_progress=show_progress,
    )
    return SplitRun(
        run=run,
        published=publish(run.checkpoint, out),
        earlier=earlier,
        remaining=ordered.rows(cut, len(ordered)),
    )


def _train(
    parts: Parts,
    settings: TrainConfig,
    workers: int,
    teachers: Sequence[Teacher],
    keeper: FileKeeper | None,
    begun: float | None,
    *,
    show_progress: bool,
    whole: bool = False,
) -> tuple[TrainedModel, int, Network | None]:
    """The model, how many clicks may be the test, and the network of the `whole` log, if wanted."""
    from_parts = (parts.shape, settings, parts.vocabulary, parts.training, parts.held)
    share = SHARE if whole else 1.0
    finishing = Finishing(parts.vocabulary.items, parts.training, parts.held, settings.minutes_max)
    more: dict[str, Any] = {"show_progress": show_progress, "teachers": teachers}
    if workers == 1:
        model = train(
            *from_parts,
            keeper=keeper,
            begun=begun,
            finishing=lambda network, validation_s: share * finishing(network, validation_s),
            share=share,
            **more,
        )
    else:
        from training.distributed import train_together  # noqa: PLC0415 - one worker needs no Ray

        model = train_together(workers, *from_parts, share=share, **more)
    network = None
    if whole:
        network = refit(
            model,
            parts.shape,
            parts.held,
            workers=workers,
            keeper=keeper,
            finishing=finishing,
            **more,
        )
    return model, finishing.asked_max, network


def _finish(model: TrainedModel, asked_max: int, parts: Parts, data_set: str, date: str) -> Run:
    training = parts.training
    held = parts.held
    test = parts.test
    items = len(model.vocabulary.items)
    histories = test.histories
    checkpoint = assess(
        model, training, held, data_set=data_set, date=date, trained_until_ms=parts.until_ms
    )
    targets = test.targets(items, asked_max, np.random.default_rng(model.settings.seed))
    tested = rank_targets(shipped(checkpoint), histories, targets, LISTED)
    most_popular = rank_by(popular(checkpoint.counts), histories, targets)
    simple_name, simple = best_cheap(training, histories, targets, items)
    return Run(
        model=model,
        checkpoint=checkpoint,
        test=_figures(tested),
        popularity=_figures(most_popular),
        simple_name=simple_name,
        simple=_figures(simple),
    )


def _figures(ranking: Ranking) -> dict[str, float]:
    """At 10, with intervals, and at LISTED."""
    return ranking.summary(LISTED) | ranking.summary() | ranking.intervals()
