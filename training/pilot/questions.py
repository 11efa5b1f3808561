"""Held-out clicks as questions to published bundles: the same ones,
with the same candidates, for each that answers.

Letters: m questions, V catalogue items, M candidates.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.arrays import Longs
from model.bundle.bundle import Bundle
from training.data.clicklog import ClickLog
from training.data.protocols import ITEM_EVENTS_MIN
from training.data.sequences import UNKNOWN, Held, Histories, Vocabulary
from training.errors import DatasetError
from training.measure.evaluate import Clicks
from training.measure.ranking import Ranking
from training.measure.served import logit, places, walk
from training.measure.targets import NegativeSampler

NEGATIVES = 99  # unseen items beside each held-out click, drawn uniformly, as calibration is fitted
NEWEST_SHARE = 0.1  # of a log split by time
NAMES_SHOWN = 5
OVERLAP_MIN = 0.01  # below it, the log and the bundle speak of different things


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a bundle never learned from, as histories with targets, and how that was decided."""

    log: ClickLog  # what the histories were made from
    held: Held
    split: str  # a sentence
    catalogue_share: float  # of the held-out clicks, those whose item the bundle knows
    learned: Histories  # all that came before, for simple methods to learn from


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Held-out clicks in the order of user and time;
    rows are those of the bundle that they were drawn for.
    """

    histories: Histories
    targets: Longs  # (m,) flat positions, ascending
    candidates: Longs  # (m, M) the clicked item first

    @property
    def users(self) -> Longs:
        """The user (m,) of each."""
        return np.searchsorted(self.histories.starts, self.targets, side="right") - 1

    @property
    def lengths(self) -> Longs:
        """Events (m,) of the user before each click."""
        return self.targets - self.histories.starts[self.users]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a bundle said: its recommendations, and its probabilities at its best level."""

    ranked: Ranking
    clicks: Clicks  # m x M rows


def vocabulary_of(bundle: Bundle) -> Vocabulary:
    """The numbers that this bundle gives to items and actions."""
    return Vocabulary(
        items=bundle.items, actions=bundle.config.actions, hashed=bundle.config.hashed_items
    )


def hold_out(log: ClickLog, bundle: Bundle, metadata: dict[str, Any], *, by_time: bool) -> HeldOut:
    """The clicks that the bundle did not learn from: each user's last, or those after its training.

    A bundle that was trained up to a moment is asked about later clicks only, whatever the log;
    otherwise `by_time` holds out the newest tenth of the time line.

    Raises:
        DatasetError: nothing is left to ask, or the log's items are not the bundle's.
    """
    vocabulary = vocabulary_of(bundle)
    until_ms = metadata.get("trained_until_ms")
    log, passed_over = _of_known_actions(log, vocabulary)
    if by_time or until_ms is not None:
        log = log.by_time()
        since_ms = int(log.times_ms[int(len(log) * (1 - NEWEST_SHARE))]) if len(log) else 0
        if until_ms is not None:
            since_ms = max(since_ms, int(until_ms) + 1)
        held = Held.since(Histories.of(log, vocabulary), since_ms)
        learned = Histories.of(log.take(log.times_ms < since_ms), vocabulary)
        split = f"by time: clicks from {_moment(since_ms)} on, each asked right before it came"
        if until_ms is None:
            split += (
                "; the bundle does not say until when it was trained, so it may know some of them"
            )
    else:
        log = log.with_frequent_items(ITEM_EVENTS_MIN)
        held = Held.last(Histories.of(log, vocabulary))
        learned = held.histories.without_last(1)
        split = (
            f"leave-one-out: each user's last click, items with at least {ITEM_EVENTS_MIN} events"
        )
    split += passed_over
    share = _overlap(held, log, bundle)
    if not held.tails.sum():
        trained = (
            "" if until_ms is None else f"; the bundle was trained up to {_moment(int(until_ms))}"
        )
        raise DatasetError(
            f"no click is left to ask about ({split}){trained}; bring a log with newer events, or "
            "ask a bundle that was trained with --hold-out, which never learns from the newest "
            "tenth of its log"
        )
    return HeldOut(log=log, held=held, split=split, catalogue_share=share, learned=learned)


def _of_known_actions(log: ClickLog, vocabulary: Vocabulary) -> tuple[ClickLog, str]:
    """The clicks that the bundle would fold, and a half-sentence about the others."""
    known = vocabulary.action_ids(log.actions) != UNKNOWN
    if known.all():
        return log, ""
    names, counts = np.unique(log.actions[~known].astype(str), return_counts=True)
    shown = ", ".join(
        repr(str(name)) for name in names[np.argsort(-counts, kind="stable")][:NAMES_SHOWN]
    )
    said = (
        f"{int((~known).sum()):,} of {len(known):,} clicks have actions that the bundle does "
        f"not know ({shown})"
    )
    if not known.any():
        raise DatasetError(
            f"{said}, and it folds none of these; it knows "
            f"{', '.join(map(repr, vocabulary.actions[:NAMES_SHOWN]))}: name the right column "
            "with --field action=COLUMN, or give the log that the bundle was made for"
        )
    return log.take(known), f"; {said} and are passed over, as when serving"


def ask(held: Held, items: int, *, count_max: int, seed: int = 0) -> Questions:
    """Questions about at most `count_max` held-out clicks on catalogue items
    (row < `items`), drawn at random.
    """
    histories = held.histories
    random = np.random.default_rng(seed)
    targets = held.targets(items, count_max, random)
    starts = histories.starts[np.searchsorted(histories.starts, targets, side="right") - 1]
    sampler = NegativeSampler(histories, items, popular=0.0, seen=0.0)
    drawn = sampler.draw(starts, (targets - 1 - starts)[:, None], NEGATIVES, random)
    return Questions(
        histories=histories, targets=targets, candidates=drawn.candidates[:, 0].numpy()
    )


def translate(asked: Questions, log_histories: Histories, old: Bundle, new: Bundle) -> Questions:
    """The same questions in the rows of another bundle,
    `log_histories` being the same log in that bundle's rows.
    """
    rows = vocabulary_of(new).item_rows(np.array(old.items, dtype=object))
    return Questions(
        histories=log_histories, targets=asked.targets, candidates=rows[asked.candidates]
    )


def only(asked: Questions, which: np.ndarray) -> Questions:
    """Those questions for which `which` (m,) is true."""
    return Questions(
        histories=asked.histories, targets=asked.targets[which], candidates=asked.candidates[which]
    )


def answer(bundle: Bundle, asked: Questions, step: Callable[[], None] = lambda: None) -> Answers:
    """Fold each user's events into a state of the bundle's own format,
    and ask right before each target.
    """
    histories = asked.histories
    count, width = asked.candidates.shape
    logits = np.empty((count, width))
    ranked = []
    for n, (target, row) in enumerate(walk(bundle, histories, asked.targets)):
        now_ms = int(histories.times_ms[target])
        logits[n] = logit(bundle.score(row, asked.candidates[n], now_ms).probabilities)
        ranked.append(places(bundle, row, int(histories.items[target]), now_ms))
        step()
    labels = np.zeros((count, width), dtype=bool)
    labels[:, 0] = True
    clicks = Clicks(
        users=np.repeat(asked.users, width), labels=labels.ravel(), logits=logits.ravel()
    )
    return Answers(ranked=Ranking.listed(ranked), clicks=clicks)


def _overlap(held: Held, log: ClickLog, bundle: Bundle) -> float:
    """Share of the held-out clicks whose item is in the catalogue."""
    histories = held.histories
    ends = np.repeat(histories.starts[1:], histories.lengths())
    late = np.arange(len(histories.items)) >= ends - np.repeat(held.tails, histories.lengths())
    known = histories.items < len(bundle.items)
    if known.mean() < OVERLAP_MIN if len(known) else True:
        raise DatasetError(
            f"{int(known.sum()):,} of {len(known):,} events of this log are on items of the "
            f"bundle's catalogue ({len(bundle.items):,} items such as {bundle.items[0]!r}; the "
            f"log's are such as {log.items[0] if len(log) else 'none'!r}): they are not of one "
            "system; give the log that the bundle was made for, or name the right item column "
            "with --field item=COLUMN"
        )
    return float(known[late].mean()) if late.any() else 0.0


def _moment(time_ms: int) -> str:
    try:
        return (
            datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).isoformat(" ", "seconds")[
                :19
            ]
            + " UTC"
        )
    except (OverflowError, ValueError, OSError):  # a clock of the log's own
        return f"{time_ms} ms"
