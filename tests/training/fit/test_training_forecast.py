"""What a training says of its duration, and how it keeps to its minutes."""

from __future__ import annotations

import dataclasses
import io
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from tests.training.fit.killed_training import Killed, Looking, kill_at
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE, quick_recipe
from training import commands
from training.errors import TrainingError
from training.finishing import ASKED_MAX, ASKED_MIN, Finishing
from training.fit.checkpoint import Checkpoint
from training.fit.forecast import STEPS, Forecast, sentence
from training.fit.keeper import KEPT
from training.fit.schedule import Schedule
from training.fit.train import TrainConfig, train
from training.runs import leave_one_out


def test_the_first_step_does_not_count() -> None:
    """It warms up; after some more the moment comes, once."""
    forecast = Forecast()
    assert [forecast.add(seconds) for seconds in [100.0, *[2.0] * STEPS, 3.0]] == [
        False
    ] * STEPS + [True, False]
    assert forecast.step_s() == 2.0


@pytest.mark.parametrize(
    ("minutes", "epoch_s", "said"),
    [
        (None, 3.0, "about 97 seconds for 30 epochs at most"),
        (None, 60.0, "about 29 minutes for 30 epochs at most"),
        (12.0, 60.0, "about 29 minutes for 30 epochs at most; --minutes 12 allows about 7 of them"),
        (
            12.0,
            6000.0,
            "about 48.3 hours for 30 epochs at most; --minutes 12 allows about 1.1 of them",
        ),
        (12.0, 1.0, "about 39 seconds for 30 epochs at most; --minutes 12 allows about 30 of them"),
    ],
)
def test_the_forecast_is_a_sentence(minutes: float | None, epoch_s: float, said: str) -> None:
    """How long all epochs would take, and how many the minutes allow: one is over,
    the steps end after 366 seconds.
    """
    times = {"spent_s": 6.0, "epoch_s": epoch_s, "done": 1.0, "finishing_s": 4.0, "limit_s": 366.0}
    assert sentence(epochs=30, minutes=minutes, **times) == said


def test_steps_end_early_enough_for_what_follows() -> None:
    """The schedule ends when validation and test still fit;
    steps get half of the minutes, whatever follows.
    """
    schedule = Schedule(TrainConfig(minutes_max=1.0), begun=time.monotonic() - 20)
    schedule.reserve(20.0)
    assert schedule.limit_s() == 40.0
    schedule.advance(0.1)
    assert schedule.done == pytest.approx(0.5, abs=0.01)
    schedule.reserve(0.0)
    schedule.advance(0.1)
    assert schedule.done == pytest.approx(0.5, abs=0.01)  # never back
    schedule.reserve(300.0)
    assert schedule.limit_s() == 30.0
    schedule.pause(15.0)
    assert schedule.seconds() == pytest.approx(5.0, abs=1.0)
    assert Schedule(TrainConfig()).limit_s() is None


def test_a_training_measures_what_it_needs_after_its_steps(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After some steps it says how long all will take,
    and leaves the time of validation and test.
    """
    asked: list[float] = []

    def finishing(network: nn.Module, validation_s: float) -> float:
        asked.append(validation_s)
        return 40.0

    parts = leave_one_out(cyclic_log(), SHAPE)
    settings = dataclasses.replace(QUICK, epochs=1000, patience=1000, minutes_max=1.0)
    begun = time.monotonic() - 29.0  # steps get half a minute
    train(
        SHAPE,
        settings,
        parts.vocabulary,
        parts.training,
        parts.held,
        begun=begun,
        finishing=finishing,
    )
    assert len(asked) == 1
    assert asked[0] > 0
    assert 30 <= time.monotonic() - begun < 60
    assert "for 1000 epochs at most; --minutes 1 allows about " in capsys.readouterr().err


def test_measuring_changes_nothing() -> None:
    """Neither weights nor generators, so a training is the same with and without a forecast."""
    parts = leave_one_out(cyclic_log(), SHAPE)
    torch.set_num_threads(1)
    model = train(SHAPE, QUICK, parts.vocabulary, parts.training, parts.held, show_progress=False)
    before = (
        [weight.clone() for weight in model.network.state_dict().values()],
        torch.get_rng_state(),
    )
    finishing = Finishing(parts.vocabulary.items, parts.training, parts.held, minutes=10.0)
    seconds = finishing(model.network, 1.0)
    assert seconds > 1.0
    assert finishing.asked_max == ASKED_MAX
    assert torch.equal(before[1], torch.get_rng_state())
    assert all(map(torch.equal, before[0], model.network.state_dict().values()))


def test_short_minutes_ask_fewer_clicks_of_the_test() -> None:
    """Where validations alone take longer than the minutes, the fewest."""
    parts = leave_one_out(cyclic_log(), SHAPE)
    model = train(SHAPE, QUICK, parts.vocabulary, parts.training, parts.held, show_progress=False)
    finishing = Finishing(parts.vocabulary.items, parts.training, parts.held, minutes=1.0)
    finishing(model.network, 1000.0)
    assert finishing.asked_max == ASKED_MIN


def write_log(path: Path) -> None:
    """The circle walkers as CSV."""
    log = cyclic_log()
    rows = zip(log.users, log.items, log.times_ms, strict=True)
    path.write_text(
        "user,item,time\n" + "".join(f"{user},{item},{at}\n" for user, item, at in rows)
    )


def test_the_command_goes_on_where_a_killed_one_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --resume nothing is lost by mistake;
    with it the model is that of an uninterrupted command.
    """
    monkeypatch.setattr(commands, "choose", quick_recipe(QUICK))
    write_log(tmp_path / "log.csv")

    def command(out: str, **more: Any) -> None:
        console = Console(file=io.StringIO())
        commands.train_model(
            "file", path=tmp_path / "log.csv", out=tmp_path / out, console=console, **more
        )

    command("whole")
    with monkeypatch.context() as killing:
        killing.setattr(commands, "FileKeeper", partial(Looking, at_look=kill_at(3)))
        with pytest.raises(Killed):
            command("parts")
    assert [file.name for file in (tmp_path / "parts").iterdir()] == [KEPT]
    with pytest.raises(
        TrainingError, match="was not finished: go on with the same command and --resume"
    ):
        command("parts")
    command("parts", resume=True)
    whole, parts = (Checkpoint.load(tmp_path / name) for name in ("whole", "parts"))
    assert all(
        map(torch.equal, whole.network.state_dict().values(), parts.network.state_dict().values())
    )
    assert np.array_equal(whole.calibration, parts.calibration)
    assert not (tmp_path / "parts" / KEPT).exists()
    with pytest.raises(TrainingError, match="holds no unfinished training"):
        command("parts", resume=True)
    with pytest.raises(TrainingError, match="with one worker only"):
        command("parts", resume=True, workers=2)
