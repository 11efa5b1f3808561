"""What is picked for a log: the settings found by hand where these are good, and a reason each."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.accuracy.looks import LOOKS
from model.config import ModelConfig
from model.state import layout
from training.fit.train import CATALOGUE_MAX, TrainConfig
from training.recipe.choice import (
    EPOCHS_SMALL,
    ITEMS_SUMMED_MAX,
    MINUTES_MAX,
    NARROW,
    WIDE_EVENTS,
    choose,
    minutes_of_epoch,
)

LONG = {"length": 200, "tokens": 3_200, "learning_rate": 2e-3, "dropout": 0.2}
SHORT = {"length": 50, "tokens": 1_600, "learning_rate": 2e-3, "dropout": 0.5}


@pytest.mark.parametrize(
    ("data", "width", "training"),
    [
        ("ml-100k", 64, {**LONG, "tokens": 1_024, "learning_rate": 6e-3, "epochs": 8}),
        ("ml-1m", 128, {**LONG, "epochs": 20}),
        ("beauty", 64, {**SHORT, "epochs": 24}),
        ("video-games", 64, {**SHORT, "epochs": 24}),
        ("toys", 64, {**SHORT, "epochs": 24}),
        ("sports", 64, {**SHORT, "epochs": 24}),
        ("foursquare-nyc", 64, {**LONG, "epochs": 24}),
        ("diginetica", 64, {"length": 50, "tokens": 1_600, "dropout": 0.3}),
        ("tmall", 64, {"length": 50, "tokens": 1_600}),
    ],
)
def test_public_logs_get_what_was_found_by_hand(
    data: str, width: int, training: dict[str, Any]
) -> None:
    """Widths, windows, batches, rates, dropout and epochs of the studies; an hour at most."""
    recipe = choose(LOOKS[data])
    assert recipe.shaped().width == width
    assert {name: recipe.training[name] for name in training} == training
    assert recipe.minutes <= MINUTES_MAX
    assert recipe.training["epochs"] >= 8
    TrainConfig(**recipe.training)


def test_every_choice_has_a_reason() -> None:
    """One short line each, of all that is picked."""
    for look in LOOKS.values():
        recipe = choose(look)
        assert {choice.name for choice in recipe.choices} == {"width", *recipe.training}
        assert all(15 <= len(str(choice)) <= 100 for choice in recipe.choices)


def test_short_logs_get_the_narrow_shape() -> None:
    """Half the width in no more bytes; from the limit on, what ships, where histories are long."""
    look = dataclasses.replace(LOOKS["ml-1m"], events=WIDE_EVENTS)
    assert choose(look).shaped() == ModelConfig()
    narrow = choose(dataclasses.replace(look, events=WIDE_EVENTS - 1)).shaped()
    assert narrow.width == ModelConfig().width // 2
    assert layout(narrow).row_bytes <= layout(ModelConfig()).row_bytes
    assert choose(dataclasses.replace(look, events_mean=5.0)).shaped() == narrow


def test_settings_go_over_the_recipe() -> None:
    """A width or expansion that is named decides both; other settings leave the choice alone."""
    recipe = choose(LOOKS["ml-100k"])
    assert recipe.shaped({"width": 128}) == ModelConfig(width=128)
    assert recipe.shaped({"expand": 1}) == ModelConfig(expand=1)
    assert recipe.shaped({"slots": 2}) == dataclasses.replace(recipe.shaped(), slots=2)
    assert recipe.shaped({"slots": 2}).width == NARROW["width"]
    with pytest.raises(ValueError, match="width = 60 must be a multiple of heads"):
        recipe.shaped({"width": 60})


def test_epochs_fit_into_an_hour() -> None:
    """A dear epoch comes less often, but a few times; a refit halves what is left; more items than
    are summed over cost no more.
    """
    look = LOOKS["diginetica"]
    plain = choose(look)
    refitted = choose(look, refit=True)
    assert plain.training["epochs"] > refitted.training["epochs"] >= 3
    assert refitted.minutes <= MINUTES_MAX
    assert "24 would take too long over 43,097 items" in str(plain.choices[-1])
    assert choose(dataclasses.replace(look, events=10**8)).training["epochs"] == 3
    many = dataclasses.replace(look, items=ITEMS_SUMMED_MAX)
    more = dataclasses.replace(look, items=10 * ITEMS_SUMMED_MAX)
    most = dataclasses.replace(look, items=100 * ITEMS_SUMMED_MAX)
    assert minutes_of_epoch(many, 64) > minutes_of_epoch(more, 64) == minutes_of_epoch(most, 64)
    assert ITEMS_SUMMED_MAX == CATALOGUE_MAX


def test_short_histories_are_soon_known_by_heart() -> None:
    """So half of each event is dropped, unless there is only time for a few epochs over them."""
    look = LOOKS["diginetica"]
    assert choose(look).training["dropout"] == 0.3
    assert choose(dataclasses.replace(look, events=80_000)).training["dropout"] == 0.5
    assert choose(dataclasses.replace(look, items=3_000)).training["dropout"] == 0.5


@pytest.mark.parametrize("events", [0, 1, 360, 9_000, 50_000])
def test_a_small_log_gets_small_batches_and_enough_steps(events: int) -> None:
    """However small it is; the fewer events, the more epochs, within bounds."""
    look = dataclasses.replace(LOOKS["ml-100k"], events=events)
    training = choose(look).training
    assert EPOCHS_SMALL[0] <= training["epochs"] <= EPOCHS_SMALL[1]
    assert training["tokens"] == (1024 if events >= 50_000 else 512)
    assert training["smoothing"] == 0.1
    TrainConfig(**training)
