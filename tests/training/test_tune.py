"""The search for settings: tiny ones of two trials,
stopped and gone on with, and what is refused.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.distributed import started
from training.errors import TrainingError
from training.fit.train import TrainConfig
from training.recipe.settings import read_settings
from training.runs import leave_one_out
from training.tune import NAME, as_settings, search, spent_seconds


@pytest.mark.ray
def test_a_search_finds_settings_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    """Two trials, the first with the recipe's own settings; what is finished is not done again."""
    parts = leave_one_out(cyclic_log(), SHAPE)
    base = dataclasses.replace(QUICK, epochs=2, device="cpu")
    quiet = Console(quiet=True)
    with started(2):
        trials = search(parts, tmp_path, minutes=2, samples=2, base=base, console=quiet)
        assert len(trials) == 2
        assert trials[0].ndcg10 >= trials[1].ndcg10 > 0
        assert any(trial.chosen["learning_rate"] == base.learning_rate for trial in trials)
        spent = spent_seconds(tmp_path / NAME)
        assert spent > 0
        with pytest.raises(TrainingError, match="holds a search already: go on with --resume"):
            search(parts, tmp_path, minutes=2, samples=2, base=base, console=quiet)
        again = search(parts, tmp_path, minutes=2, samples=2, base=base, console=quiet, resume=True)
        assert [trial.chosen for trial in again] == [trial.chosen for trial in trials]
        assert spent_seconds(tmp_path / NAME) == spent
    _, settings = read_settings(tmp_path / "settings.json")
    assert settings["learning_rate"] == trials[0].chosen["learning_rate"]


def test_there_must_be_a_search_to_resume(tmp_path: Path) -> None:
    """Nothing is started where there is nothing to go on with."""
    parts = leave_one_out(cyclic_log(), SHAPE)
    with pytest.raises(
        TrainingError, match="holds no search to resume; start one without --resume"
    ):
        search(parts, tmp_path, minutes=1, samples=2, resume=True)


def test_a_line_cut_short_by_a_kill_counts_for_nothing(tmp_path: Path) -> None:
    """The time spent is read from whole lines only."""
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "result.json").write_text('{"time_total_s": 3.5}\n{"time_total_s": 9')
    assert spent_seconds(tmp_path) == 3.5
    shutil.rmtree(tmp_path / "trial")
    assert spent_seconds(tmp_path) == 0.0


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Chosen settings are sorted into recipe and shape, and a file of them is read as such."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(as_settings({"learning_rate": 0.01, "slots": 8, "tokens": 512})))
    changes, settings = read_settings(file)
    assert changes == {"slots": 8}
    assert settings == {"learning_rate": 0.01, "tokens": 512}
    assert TrainConfig(**settings) == TrainConfig(learning_rate=0.01, tokens=512)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "holds no settings of a training"),
        ('{"learning_rate": 1}', "unknown parts \\['learning_rate'\\]"),
        ('{"training": {"learn": 1}}', "learn"),
        ('{"training": {"dropout": 2}}', "dropout = 2 must be in"),
        ('{"shape": {"width": 60}}', "width = 60 must be a multiple of heads"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake in the file has its own message."""
    file = tmp_path / "settings.json"
    file.write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_settings(file)
