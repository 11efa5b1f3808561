"""The recipe that suits a log, chosen from how the log looks, each part with its reason.

The thresholds reproduce what was found by hand on five public sets (docs/studies.md, docs/decisions
0065): MovieLens-100k and -1M, Amazon Beauty and Video Games, Foursquare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.config import ModelConfig
from training.recipe.look import Look

NARROW: Mapping[str, Any] = {"width": 64, "expand": 2}  # of about the same bytes a user
# with fewer, the wide shape learns a log by heart sooner than it learns it (docs/training.md)
WIDE_EVENTS = 500_000
LONG = 30.0  # events of a user on average; with fewer, histories are short
SMALL_EVENTS = 120_000  # with fewer, many small steps make more of them
TINY_EVENTS = 50_000
STEPS_MIN = 800  # of a training on a small log, in all
EPOCHS_SMALL = (8, 40)
EPOCHS = 24
EPOCHS_WIDE = 20  # 40 are worth .005 more on MovieLens-1M, and take twice as long
EPOCHS_MIN = 3
EPOCHS_MANY = 15  # from so many on, a short log is learned by heart
# below, item vectors start from which items follow each other (`training.data.transitions`)
ITEM_EVENTS_FEW = 100.0
MINUTES_MAX = 50.0  # so that validation, calibration and test fit into an hour
# seconds of one core (x86, AVX2 or more) for one event and one column of the width: of the network,
# and of each item of the catalogue, whose logit is made and learned from
NETWORK_S = 6e-7
ITEM_S = 1e-10
ITEMS_SUMMED_MAX = 50_000  # larger catalogues are sampled (training/fit/sampled.py),
ITEMS_SAMPLED = 6_000  # at the cost of about so many items


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One setting and why it was chosen."""

    name: str
    value: Any
    why: str

    def __str__(self) -> str:
        """`dropout 0.5: ...`."""
        return f"{self.name.replace('_', ' ')} {self.value:g}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings for a log: `shape` of `ModelConfig`, `training` of `TrainConfig`."""

    shape: Mapping[str, Any]
    training: Mapping[str, Any]
    choices: tuple[Choice, ...]
    minutes: float  # about, of one core, for all epochs, and a refit if there is one

    def shaped(self, changes: Mapping[str, Any] | None = None) -> ModelConfig:
        """The shape; `changes` go over it, and a width or an expansion that is named decides both.

        Raises:
            ValueError: a setting is out of range.
        """
        changes = changes or {}
        own = {} if changes.keys() & NARROW.keys() else self.shape
        return ModelConfig(**{**own, **changes})


def choose(look: Look, *, refit: bool = False) -> Recipe:
    """The recipe for a log that looks so; with `refit` its epochs come twice."""
    small = look.events < SMALL_EVENTS
    long = look.events_mean >= LONG
    width = _width(look, long=long)
    tokens = _tokens(look, small=small, long=long)
    epoch_minutes = minutes_of_epoch(look, width.value) * (2 if refit else 1)
    epochs = _epochs(look, tokens.value, epoch_minutes, wide=width.value > NARROW["width"])
    training = (
        _length(look, long=long),
        tokens,
        Choice(
            name="learning_rate",
            value=6e-3 if small else 2e-3,
            why="few steps are large ones" if small else "enough steps for small ones",
        ),
        _dropout(epochs.value, small=small, long=long),
        _smoothing(small=small),
        _transitions(look),
        epochs,
    )
    return Recipe(
        shape=NARROW if width.value == NARROW["width"] else {},
        training={choice.name: choice.value for choice in training},
        choices=(width, *training),
        minutes=epochs.value * epoch_minutes,
    )


def minutes_of_epoch(look: Look, width: int) -> float:
    """About how many minutes of one core an epoch takes, without its validation."""
    learned = max(look.events - look.users, 0)
    summed = look.items if look.items <= ITEMS_SUMMED_MAX else ITEMS_SAMPLED
    return learned * width * (NETWORK_S + ITEM_S * summed) / 60


def _width(look: Look, *, long: bool) -> Choice:
    if look.events >= WIDE_EVENTS and long:
        why = f"{look.events:,} events in long histories can teach a wide model"
        return Choice(name="width", value=ModelConfig().width, why=why)
    why = (
        f"a wider model learns fewer than {WIDE_EVENTS:,} events by heart"
        if look.events < WIDE_EVENTS
        else f"histories of {look.events_mean:.1f} events on average have little for a wider one"
    )
    return Choice(name="width", value=NARROW["width"], why=why)


def _length(look: Look, *, long: bool) -> Choice:
    return Choice(
        name="length",
        value=200 if long else 50,
        why=f"windows for histories of {look.events_mean:.1f} events on average",
    )


def _tokens(look: Look, *, small: bool, long: bool) -> Choice:
    if small:
        value = 512 if look.events < TINY_EVENTS else 1024
        return Choice(
            name="tokens", value=value, why=f"small batches: {look.events:,} events make few"
        )
    return Choice(
        name="tokens", value=3200 if long else 1600, why=f"a batch of {look.events:,} events"
    )


def _epochs(look: Look, tokens: int, epoch_minutes: float, *, wide: bool) -> Choice:
    if look.events < SMALL_EVENTS:
        least, most = EPOCHS_SMALL
        wanted = min(max(round(STEPS_MIN * tokens / max(look.events, 1)), least), most)
        why = f"about {STEPS_MIN} steps"
    else:
        wanted = EPOCHS_WIDE if wide else EPOCHS
        why = "fewer end too early, more are worth little"
    allowed = math.floor(MINUTES_MAX / epoch_minutes) if epoch_minutes else wanted
    value = min(wanted, max(allowed, EPOCHS_MIN))
    if value < wanted:
        why = f"{wanted} would take too long over {look.items:,} items"
    said = f"{why}; at most about {_duration(value * epoch_minutes)} of one core"
    return Choice(name="epochs", value=value, why=said)


def _dropout(epochs: int, *, small: bool, long: bool) -> Choice:
    if long:
        return Choice(name="dropout", value=0.2, why="long histories tell much about each user")
    if not small and epochs < EPOCHS_MANY:
        return Choice(name="dropout", value=0.3, why="short histories, but few epochs over them")
    return Choice(
        name="dropout",
        value=0.5,
        why=f"short histories, {epochs} times over, are soon known by heart",
    )


def _smoothing(*, small: bool) -> Choice:
    if small:
        why = "a small log is sure of too much"
        return Choice(name="smoothing", value=0.1, why=why)
    return Choice(name="smoothing", value=0.0, why="the log is large enough without")


def _transitions(look: Look) -> Choice:
    each = look.events / max(look.items, 1)
    if each < ITEM_EVENTS_FEW:
        why = f"{each:.0f} events an item: counts know more than gradients can learn"
        return Choice(name="transitions", value=3.0, why=why)
    why = f"{each:.0f} events an item teach its vector from a random start"
    return Choice(name="transitions", value=0.0, why=why)


def _duration(minutes: float) -> str:
    return f"{60 * minutes:.0f} seconds" if minutes < 2 else f"{minutes:.0f} minutes"
