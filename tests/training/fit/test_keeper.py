"""A training that is stopped, killed or diverges: what is kept,
and that it goes on as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.fit.killed_training import Killed, Looking, Ticks, kill_at
from tests.training.logs import cyclic_log
from tests.training.quick_training import QUICK, SHAPE
from training.errors import DivergedError, StoppedError, TrainingError
from training.fit.keeper import KEPT, FileKeeper, Keepable
from training.fit.train import TrainConfig, TrainedModel, train
from training.runs import leave_one_out

SETTINGS = dataclasses.replace(QUICK, epochs=3, dropout=0.1)


def run(keeper: FileKeeper | None = None, settings: TrainConfig = SETTINGS) -> TrainedModel:
    """Train on the circle walkers."""
    torch.set_num_threads(1)
    parts = leave_one_out(cyclic_log(), SHAPE)
    return train(
        SHAPE,
        settings,
        parts.vocabulary,
        parts.training,
        parts.held,
        show_progress=False,
        keeper=keeper,
    )


def equal(one: TrainedModel, other: TrainedModel) -> bool:
    """Whether weights and history are the same, to the bit."""
    weights = other.network.state_dict()
    same = all(
        torch.equal(weight, weights[name]) for name, weight in one.network.state_dict().items()
    )
    timeless = [
        [dataclasses.replace(line, seconds=0.0) for line in model.history] for model in (one, other)
    ]
    return same and timeless[0] == timeless[1]


@pytest.fixture(scope="module")
def whole() -> TrainedModel:
    """The training that nobody interrupts."""
    return run()


@pytest.fixture
def untouched() -> Iterator[None]:
    """Handlers of signals are afterwards what they were."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("look", [1, 2, 4, 5, 6, 9])
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, whole: TrainedModel, look: int
) -> None:
    """Within an epoch, between two, before the validation:
    weights and history are those of the whole training.
    """
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(look)))
    torch.manual_seed(99)
    resumed = run(Looking(tmp_path, resume=True))
    assert equal(resumed, whole)


@pytest.mark.parametrize("look", [2, 5, 6])
def test_a_killed_training_by_draws_goes_on_to_the_same_weights(tmp_path: Path, look: int) -> None:
    """The item table's own moments, and an average that lags, are kept as well."""
    settings = dataclasses.replace(SETTINGS, softmax="sampled", drawn=4)
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(look)), settings)
    torch.manual_seed(99)
    assert equal(run(Looking(tmp_path, resume=True), settings), run(None, settings))


def test_keeping_changes_nothing_and_a_training_may_be_killed_at_every_step(
    tmp_path: Path, whole: TrainedModel
) -> None:
    """Each start does one step."""
    assert equal(run(Looking(tmp_path / "kept")), whole)
    starts = 1
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(1)))
    while starts < 100:
        starts += 1
        try:
            model = run(Looking(tmp_path, kill_at(1), resume=True))
        except Killed:
            continue
        break
    assert starts > 10
    assert equal(model, whole)


def test_a_finished_training_whose_result_was_not_saved_is_not_done_again(
    tmp_path: Path, whole: TrainedModel
) -> None:
    """Nothing is left to do but what follows."""
    run(Looking(tmp_path))
    again = Looking(tmp_path, resume=True)
    assert equal(run(again), whole)
    assert again.looks == 0
    again.forget()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_training_and_says_how_to_go_on(
    tmp_path: Path, whole: TrainedModel, untouched: None, number: int
) -> None:
    """However long ago it was kept last; the place is named."""

    def at(look: int) -> None:
        if look == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(
        StoppedError, match=r"stopped at step \d+ of epoch 1 of 3, after .*go on with .* --resume"
    ):
        run(Looking(tmp_path, at, interval_s=1e9))
    heard: list[str] = []
    assert equal(run(Looking(tmp_path, resume=True, say=heard.append)), whole)
    assert heard[0].startswith("going on at step 4 of epoch 1 of 3")


class Still:
    """A training in which nothing happens; each time it is written takes a second."""

    def __init__(self, clock: Ticks) -> None:
        self.kept_at: list[float] = []
        self._clock = clock

    def where(self) -> str:
        """See `Keepable`."""
        return "step 1"

    def sound(self) -> bool:
        """See `Keepable`."""
        return True

    def state(self) -> dict[str, Any]:
        """See `Keepable`."""
        self.kept_at.append(self._clock.now)
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Keepable`."""


def test_a_training_is_kept_by_time_and_not_at_every_step(tmp_path: Path) -> None:
    """About once in an interval, and less often where writing takes long:
    at most a twentieth of the time.
    """
    for interval_s, least in ((10.0, 20.0), (50.0, 50.0)):
        clock = Ticks()
        keeper = Looking(tmp_path, interval_s=interval_s, clock=clock)
        training = Still(clock)
        for _ in range(1000):
            keeper.look(training)
        gaps = [later - earlier for earlier, later in pairwise(training.kept_at)]
        assert all(least <= gap <= least + 3 for gap in gaps)
        assert gaps
        keeper.forget()


def test_what_is_unfinished_is_not_overwritten_in_silence(
    tmp_path: Path, whole: TrainedModel
) -> None:
    """Only with --resume or --anew; without anything unfinished, --resume says so."""
    with pytest.raises(TrainingError, match="holds no unfinished training to resume"):
        FileKeeper(tmp_path, resume=True)
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(3)))
    with pytest.raises(
        TrainingError, match="go on with the same command and --resume, begin anew with --anew"
    ):
        FileKeeper(tmp_path)
    assert equal(run(Looking(tmp_path, anew=True)), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 1}, "another seed or recipe"), ({"tokens": 128}, "another seed or recipe")],
)
def test_another_training_is_not_gone_on_with(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Other settings would not give what either training gives."""
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(3)))
    with pytest.raises(TrainingError, match=message):
        run(Looking(tmp_path, resume=True), dataclasses.replace(SETTINGS, **change))


def test_other_data_are_not_gone_on_with(tmp_path: Path) -> None:
    """Nor another shape; both are named."""
    with pytest.raises(Killed):
        run(Looking(tmp_path, kill_at(3)))
    parts = leave_one_out(cyclic_log(users=41), dataclasses.replace(SHAPE, slots=2))
    with pytest.raises(TrainingError, match="another log and another shape"):
        train(
            parts.shape,
            SETTINGS,
            parts.vocabulary,
            parts.training,
            parts.held,
            show_progress=False,
            keeper=Looking(tmp_path, resume=True),
        )


@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Nothing, half of it, and what another version wrote."""
    if content is None:
        torch.save({"format": 0}, tmp_path / KEPT)
    else:
        (tmp_path / KEPT).write_bytes(content)
    with pytest.raises(TrainingError, match=r"holds no training that can be resumed.*--anew"):
        run(Looking(tmp_path, resume=True))


def test_a_disk_that_takes_nothing_does_not_end_the_training(
    tmp_path: Path, whole: TrainedModel
) -> None:
    """It is said each time, and the model is what it would be."""
    (tmp_path / f".{KEPT}.new").mkdir()  # where the new file would be written
    heard: list[str] = []
    assert equal(run(Looking(tmp_path, say=heard.append)), whole)
    assert "could not be kept in" in heard[0]
    assert "the training goes on without" in heard[0]


def breaking(model: Keepable) -> None:
    """Make a weight no number."""
    network = model.network  # type: ignore[attr-defined]
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = float("nan")


def test_a_training_that_diverges_says_where_and_keeps_the_last_good_state(
    tmp_path: Path, whole: TrainedModel
) -> None:
    """The message names epoch, step and what to change; from what is kept a lower rate goes on."""

    class Breaking(Looking):
        def look(self, training: Keepable, *, now: bool = False) -> None:
            super().look(training, now=now)
            if self.looks == 4:
                breaking(training)

    said = r"diverged in epoch \d: step \d+ of \d+ gives losses of .*nan.*"
    message = said + r"lower learning_rate, which is 0.01"
    with pytest.raises(DivergedError, match=message) as caught:
        run(Breaking(tmp_path))
    assert "kept in" in str(caught.value)
    slower = run(Looking(tmp_path, resume=True), dataclasses.replace(SETTINGS, learning_rate=0.003))
    assert len(slower.history) == 3
    assert not equal(slower, whole)


def test_weights_that_are_no_numbers_are_not_validated() -> None:
    """The last step of an epoch may be the one that breaks them."""
    settings = dataclasses.replace(QUICK, epochs=1, learning_rate=1e38, clip=1e38, tokens=100_000)
    with pytest.raises(
        DivergedError, match=r"diverged in epoch 1: .*lower learning_rate, which is 1e\+38"
    ):
        run(None, settings)
